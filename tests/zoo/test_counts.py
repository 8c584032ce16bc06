"""The zoo's networks have the parameters that they are known by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared_specs import load_spec, spec_names
from shared_specs.shapes import output_shape, smallest_input

COUNTS = {
    "mlperf_unet3d": (31_190_243, "layer by layer, from the sizes in mlcommons/training image_segmentation"),
    "monai_attention_unet": (1_987_434, "counted in monai 1.5.1"),
    "monai_basic_unet": (5_749_410, "counted in monai 1.5.1"),
    "monai_basic_unet_plus_plus": (2_410_114, "counted in monai 1.5.1: 2,410,312 less three unused heads of 66"),
    "monai_unet": (4_808_917, "counted in monai 1.5.1"),
    "nnunet_plain_2d": (33_471_820, "counted in dynamic-network-architectures 0.4.4"),
    "nnunet_plain_3d": (31_195_594, "counted in dynamic-network-architectures 0.4.4"),
    "nnunet_residual_encoder_2d": (105_916_812, "counted in dynamic-network-architectures 0.4.4"),
    "nnunet_residual_encoder_3d": (102_349_770, "counted in dynamic-network-architectures 0.4.4"),
    "nvidia_unet_medical": (
        34_512_258,
        "31,030,658 of arXiv 1505.04597, and 5 x 696,320 as up-convolutions are 3x3 and not 2x2",
    ),
    "pytorch_unet_bilinear": (17_263_042, "github.com/milesial/Pytorch-UNet, as its users print it"),
    "pytorch_unet_transposed": (31_037_698, "github.com/milesial/Pytorch-UNet, as its users print it"),
    "smp_unet_resnet34": (24_436_514, "counted in segmentation-models-pytorch 0.6.0: 24,436,369 with one class"),
    "unet3d_cicek": (19_074_627, "arXiv 1606.06650: 19,069,955, and 4,672 scales and shifts of batch norm"),
    "unet_bn_crop": (31_044_106, "layer by layer"),
    "unet_bn_pad": (31_044_106, "layer by layer"),
    "unet_bn_same": (31_044_106, "layer by layer"),
    "unet_paper": (31_030_658, "arXiv 1505.04597, layer by layer"),
    "unet_same": (31_032_330, "layer by layer"),
}
"""With where each was published or counted."""

OUTPUTS = [
    ("monai_attention_unet", (1, 1, 512, 512), (1, 2, 512, 512)),
    ("monai_basic_unet", (1, 1, 97, 96, 98), (1, 2, 97, 96, 98)),
    ("monai_basic_unet_plus_plus", (1, 1, 255, 250), (1, 2, 255, 250)),
    ("monai_unet", (1, 1, 160, 160, 160), (1, 2, 160, 160, 160)),
    ("nnunet_plain_2d", (1, 1, 256, 256), (1, 2, 256, 256)),
    ("nnunet_residual_encoder_3d", (1, 1, 128, 128, 128), (1, 2, 128, 128, 128)),
    ("mlperf_unet3d", (1, 1, 128, 128, 128), (1, 3, 128, 128, 128)),
    ("nvidia_unet_medical", (1, 1, 572, 572), (1, 2, 388, 388)),
    ("pytorch_unet_bilinear", (1, 3, 959, 640), (1, 2, 959, 640)),
    ("smp_unet_resnet34", (1, 3, 224, 224), (1, 2, 224, 224)),
    ("unet3d_cicek", (1, 3, 116, 132, 132), (1, 3, 28, 44, 44)),  # figure 2 of the paper, depth first
]


def test_every_network_has_its_count_here() -> None:
    assert sorted(COUNTS) == spec_names()


def test_parameter_count(spec_name: str) -> None:
    count, source = COUNTS[spec_name]
    assert load_spec(spec_name).parameter_count == count, source


def test_count_of_the_3d_paper_leaves_out_batch_norm() -> None:
    layers = load_spec("unet3d_cicek").layers
    assert sum(layer.parameter_count for layer in layers if layer.kind != "batch_norm") == 19_069_955


@pytest.mark.parametrize(("name", "images", "logits"), OUTPUTS, ids=lambda value: str(value).replace(" ", ""))
def test_output_shape(name: str, images: tuple[int, ...], logits: tuple[int, ...]) -> None:
    assert output_shape(load_spec(name), images) == logits


def test_every_network_can_be_narrow(spec_name: str) -> None:
    spec = load_spec(spec_name)
    narrow = spec.narrow(8)
    assert narrow.parameter_count < spec.parameter_count / 32
    assert smallest_input(narrow) == smallest_input(spec)
    assert narrow.checkpoint == spec.checkpoint


def test_each_spec_cites_its_source(spec_name: str) -> None:
    spec = load_spec(spec_name)
    assert len(spec.title) > 5 and len(spec.source) > 10
    assert spec.name.startswith("unet_") or "arXiv" in spec.citation or "doi" in spec.citation
    assert not spec.checkpoint or spec.licence, "the licence of the code whose names these are"


def test_the_page_lists_every_network(spec_name: str) -> None:
    spec = load_spec(spec_name)
    page = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text(encoding="utf-8")
    table = page.partition("The first five are the core")[0]
    (row,) = [line for line in table.splitlines() if line.startswith(f"| `{spec_name}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    channels = f"{spec.in_channels} → {spec.out_channels}"
    assert cells[1:4] == [str(spec.dimensions), channels, f"{spec.parameter_count:,}"]
    assert cells[5] == (spec.licence or "—")


def test_the_page_names_those_without_a_key_map() -> None:
    page = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text(encoding="utf-8")
    said = page.partition("Without one are the core")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", said)) == {name for name in spec_names() if not load_spec(name).checkpoint}
