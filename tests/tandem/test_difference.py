"""`tandem show A B`: keys, layers, shapes and totals in which two networks differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared_specs import load_spec
from shared_specs.catalog import ZOO
from tandem.commands import difference

from .conftest import Run


def rows(text: str) -> list[str]:
    """The lines of what was printed, with one blank between cells."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_keys_layers_shapes_and_totals_are_told(run: Run) -> None:
    result = run("show", "unet_paper", "unet_bn_same")
    assert result.exit_code == 0
    lines = rows(result.stdout)
    assert "conv.padding 0 1" in lines
    assert "merge.odd_difference half_to_even —" in lines
    assert "norm.epsilon — 1e-05" in lines
    assert "encoder.0.block.0.norm and 17 more — batch_norm, 11,776 parameters" in lines
    assert "encoder.4 1024x6x6 1024x14x14" in lines
    assert "parameters 31,030,658 31,044,106 1.00" in lines
    assert "layers 49 67 1.37" in lines
    assert "logits 1x2x36x36 1x10x224x224" in lines
    assert not [line for line in lines if line.startswith(("title", "source", "name"))]


def test_json_has_every_layer_that_differs(run: Run) -> None:
    content = json.loads(run("show", "unet_same", "unet_bn_same", "--json", "-").stdout)
    assert content["command"] == "show_difference" and content["same_function"] is False
    assert {layer["name"] for layer in content["layers"]} == {
        layer.name for layer in load_spec("unet_bn_same").layers if layer.kind == "batch_norm"
    }
    assert all(layer["first"] is None and layer["second"]["kind"] == "batch_norm" for layer in content["layers"])
    assert content["second"]["totals"]["parameters"] == load_spec("unet_bn_same").parameter_count


def test_all_prints_every_layer(run: Run) -> None:
    lines = rows(run("show", "unet_paper", "unet_bn_same", "--all").stdout)
    assert "encoder.2.down 128x53x53 128x56x56" in lines
    assert "encoder.3.block.1.conv 512x20x20, padding 0 512x28x28, padding 1" in lines
    assert (
        "encoder.0.block.0.conv 64x222x222, padding 0, 640 parameters 64x224x224, padding 1, 1,792 parameters" in lines
    )


def test_networks_that_are_the_same_are_said_to_be(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((ZOO / "unet_same.toml").read_text().replace('title = "', 'title = "My own '))
    result = run("show", "unet_same", path, "--json", tmp_path / "difference.json")
    assert "The same network: nothing differs that shapes the function." in result.stdout
    assert json.loads((tmp_path / "difference.json").read_text())["same_function"] is True


@pytest.mark.parametrize(
    ("change", "key", "values", "layer"),
    [
        (("epsilon = 1e-5", "epsilon = 1e-3"), "norm.epsilon", [1e-5, 1e-3], "encoder.0.block.0.norm"),
        (('kind = "relu"', 'kind = "silu"'), "activation.kind", ["relu", "silu"], "encoder.0.block.0.activation"),
        (("bias = true\n\n[norm]", "bias = false\n\n[norm]"), "conv.bias", [True, False], "encoder.0.block.0.conv"),
        (('order = ["skip", "upsampled"]', 'order = ["upsampled", "skip"]'), "merge.order", None, "decoder.3.merge"),
    ],
    ids=["epsilon", "activation", "bias", "order"],
)
def test_a_single_change_is_found_in_its_key_and_its_layer(
    run: Run, tmp_path: Path, change: tuple[str, str], key: str, values: list[Any] | None, layer: str
) -> None:
    path, text = tmp_path / "mine.toml", (ZOO / "unet_bn_same.toml").read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    content = json.loads(run("show", "unet_bn_same", path, "--json", "-").stdout)
    assert key in [found["key"] for found in content["keys"]]
    if values is not None:
        (found,) = [found for found in content["keys"] if found["key"] == key]
        assert [found["first"], found["second"]] == values
    assert content["layers"][0]["name"] == layer


def test_a_size_that_suits_both_is_taken(run: Run) -> None:
    content = json.loads(run("show", "unet_paper", "unet_same", "--json", "-").stdout)
    assert content["first"]["images_shape"][2:] == content["second"]["images_shape"][2:]


def test_networks_of_unlike_dimensions_have_their_own_sizes(run: Run) -> None:
    result = run("show", "unet_same", "monai_unet")
    assert result.exit_code == 0
    assert "note: no usual size suits both, so that each has its own: unet_same 224x224, monai_unet" in result.stderr
    assert "dimensions 2 3" in rows(result.stdout)
    # kernels of two and of three axes are alike where the numbers are
    assert "encoder.0.block.0.conv and 3 more stride 1, 1,550,976 parameters stride 2, 290,976 parameters" in rows(
        result.stdout
    )


def test_the_second_is_refused_as_the_first_is(run: Run) -> None:
    result = run("show", "unet_same", "unet_sam")
    assert result.exit_code == 2 and "no spec is named 'unet_sam'" in result.stderr


def test_names_of_both_keep_their_order() -> None:
    assert difference._in_order(["a", "b", "d"], ["a", "c", "d", "e"]) == ["a", "b", "c", "d", "e"]
