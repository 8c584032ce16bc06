"""Specs by name and by path."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shared_specs import SpecError, load_spec, spec_names
from shared_specs.catalog import ZOO, nearest_names


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_path_is_read_like_a_name(as_type: type, tmp_path: Path) -> None:
    path = shutil.copy(ZOO / "unet_paper.toml", tmp_path / "mine.toml")
    assert load_spec(as_type(path)) == load_spec("unet_paper")


@pytest.mark.parametrize("name", ["a/spec", "spec.toml", Path("folder/unet_paper")], ids=str)
def test_what_looks_like_a_path_is_one(name: str | Path) -> None:
    with pytest.raises(SpecError, match=rf"^{re.escape(str(name))}: cannot be read \(No such file or directory\)"):
        load_spec(name)


NEAREST = {
    "unet_papr": "unet_paper, ",
    "unet_bn_sam": "unet_bn_same, ",
    "bn_crop": "unet_bn_crop",
    "resnet50 ": "smp_unet_resnet34; ",
    "nnUNet": "nnunet_plain_2d, nnunet_plain_3d, nnunet_residual_encoder_2d, nnunet_residual_encoder_3d; ",
    "U-Net++": "monai_basic_unet_plus_plus, ",
    "attention unet": "monai_attention_unet",
    "unet3d": "unet3d_cicek, mlperf_unet3d, ",
    "monai": "monai_unet, monai_basic_unet, ",
}


@pytest.mark.parametrize(("name", "nearest"), NEAREST.items(), ids=NEAREST)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(name)
    message = str(error.value)
    assert message.startswith(f"no spec is named {name!r}; the nearest are {nearest}")
    assert message.endswith("; or give a path to a .toml file")


NEAR = {  # text, names, and those that are near
    "holds the text, and is written alike": ("x2", ["x1", "a_long_name_of_x2", "y"], ["a_long_name_of_x2", "x1"]),
    "is held by the text": ("a_b_2_and_more", ["x_2", "b_2"], ["b_2"]),
    "in brackets": ("(2)", ["name_2", "name_3"], ["name_2"]),
    "any signs between words": ("A - 2", ["long_name_a_2", "long_name_a_3"], ["long_name_a_2"]),
    "plus": ("2+", ["longer_2_plus", "longer_2"], ["longer_2_plus"]),
    "plus between words": ("2+3", ["2_plus_4", "a_long_name_2_plus_3"], ["a_long_name_2_plus_3", "2_plus_4"]),
    "shares more words": ("big red fox", ["the_red_one", "a_fox_red_all_over"], ["a_fox_red_all_over", "the_red_one"]),
    "unet is no word": ("unet_q", ["unet_of_twelve_letters"], []),
    "at most four": ("x0", ["x1", "x2", "x3", "x4", "x5"], ["x1", "x2", "x3", "x4"]),
    "nothing is in every name": ("", ["x1"], []),
}


@pytest.mark.parametrize(("text", "names", "near"), NEAR.values(), ids=NEAR)
def test_which_names_are_near_the_nearest_first(text: str, names: list[str], near: list[str]) -> None:
    assert nearest_names(text, names) == near


@pytest.mark.parametrize("name", ["", "zzz"])
def test_a_name_that_is_near_to_none_gets_them_all(name: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(name)
    everything = f"the zoo has {', '.join(spec_names())}; or give a path to a .toml file"
    assert str(error.value) == f"no spec is named {name!r}; {everything}"
