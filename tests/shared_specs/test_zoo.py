"""The five core networks give the shapes and parameter counts that they are known by."""

from __future__ import annotations

import pytest

from shared_specs import ShapeError, load_spec, spec_names
from shared_specs.catalog import CORE, ZOO
from shared_specs.shapes import output_shape, smallest_input

COUNTS = {
    "unet_bn_crop": 31_044_106,
    "unet_bn_pad": 31_044_106,
    "unet_bn_same": 31_044_106,
    "unet_paper": 31_030_658,  # Ronneberger et al. 2015, arXiv 1505.04597
    "unet_same": 31_032_330,
}
OUTPUTS = [
    ("unet_bn_same", (8, 3, 224, 224), (8, 10, 224, 224)),
    ("unet_bn_crop", (1, 3, 572, 572), (1, 10, 388, 388)),
    ("unet_bn_pad", (1, 3, 572, 572), (1, 10, 564, 564)),
    ("unet_same", (1, 3, 512, 512), (1, 10, 512, 512)),
    ("unet_paper", (1, 1, 572, 572), (1, 2, 388, 388)),
    # Neither even nor square. By hand, for the height: 199 -> 195 97 93 46 42 21 17 8 4, up to 8 4, 8 4, 8 4, 8 4
    # where skips are cropped; where the map is padded to the skip of 195, the last two convolutions leave 191.
    ("unet_bn_crop", (2, 3, 199, 207), (2, 10, 4, 20)),
    ("unet_bn_pad", (2, 3, 199, 207), (2, 10, 191, 199)),
    ("unet_paper", (2, 1, 199, 207), (2, 2, 4, 20)),
]


def test_the_zoo_is_listed_by_file_name() -> None:
    assert spec_names() == sorted(path.stem for path in ZOO.glob("*.toml"))
    assert sorted(CORE) == sorted(COUNTS)
    assert [load_spec(name).name for name in spec_names()] == spec_names()


def test_parameter_count(spec_name: str) -> None:
    assert load_spec(spec_name).parameter_count == COUNTS[spec_name]


def test_first_layers_of_unet_bn_same() -> None:
    layers = [layer for layer in load_spec("unet_bn_same").layers if layer.parameter_count]
    assert [layer.parameter_count for layer in layers[:7]] == [1_792, 128, 36_928, 128, 73_856, 256, 147_584]


@pytest.mark.parametrize(("name", "images", "logits"), OUTPUTS, ids=lambda value: str(value).replace(" ", ""))
def test_output_shape(name: str, images: tuple[int, ...], logits: tuple[int, ...]) -> None:
    assert output_shape(load_spec(name), images) == logits


@pytest.mark.parametrize("name", ["unet_bn_same", "unet_same"])
def test_odd_input_that_does_not_fit_names_level_and_sizes(name: str) -> None:
    with pytest.raises(ShapeError) as error:
        output_shape(load_spec(name), (1, 3, 199, 207))
    assert str(error.value) == (
        f"{name}: sizes differ at level 3: the skip is 24x25 and the upsampled map 24x24; "
        "take images whose height and width are divisible by 16"
    )


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("unet_bn_same", 16), ("unet_same", 16), ("unet_bn_crop", 188), ("unet_paper", 188), ("unet_bn_pad", 140)],
)
def test_smallest_input(name: str, pixels: int) -> None:
    assert smallest_input(load_spec(name)) == pixels


def test_each_spec_cites_its_source(spec_name: str) -> None:
    spec = load_spec(spec_name)
    assert "arXiv 1505.04597" in spec.source
    assert len(spec.title) > 5


def test_no_two_networks_share_a_fingerprint() -> None:
    assert len({load_spec(name).fingerprint for name in spec_names()}) == len(list(ZOO.glob("*.toml")))
