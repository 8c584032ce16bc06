"""Specs by name and by path."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shared_specs import SpecError, load_spec, spec_names
from shared_specs.catalog import ZOO


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


@pytest.mark.parametrize("name", ["", "zzz"])
def test_a_name_that_is_near_to_none_gets_them_all(name: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec(name)
    everything = f"the zoo has {', '.join(spec_names())}; or give a path to a .toml file"
    assert str(error.value) == f"no spec is named {name!r}; {everything}"
