"""A spec that is written as TOML reads back as the same spec, and says no more than it has to."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.toml import to_toml


@pytest.mark.parametrize("spec_name", spec_names())
def test_every_network_of_the_zoo_reads_back(spec_name: str, tmp_path: Path) -> None:
    spec, path = load_spec(spec_name), tmp_path / "spec.toml"
    path.write_text(to_toml(spec), encoding="utf-8")
    assert UNetSpec.from_toml(path) == spec


def test_awkward_text_reads_back(tmp_path: Path) -> None:
    spec = load_spec("unet_same").model_copy(
        update={"title": 'a "U-Net"\\ of\ttwo\nlines, für alle', "citation": "\x7f"}
    )
    path = tmp_path / "spec.toml"
    path.write_text(to_toml(spec), encoding="utf-8")
    assert UNetSpec.from_toml(path) == spec


def test_what_is_absent_is_not_written() -> None:
    text = to_toml(load_spec("unet_same"))
    assert "epsilon" not in text
    assert "override" not in text
    assert "before_up" not in text


WRITTEN = """\
name = "small"
title = "Größe \\"small\\""
source = "here"
citation = "a \\u007f"
dimensions = 2
in_channels = 3
out_channels = 10
widths = [4, 8]

[block]
convolutions = 2
order = ["conv", "activation"]

[conv]
kernel = 3
stride = 1
padding = 1
padding_mode = "zeros"
dilation = 1
bias = true

[norm]
kind = "none"

[activation]
kind = "relu"

[down]
kind = "max_pool"
kernel = 2
stride = 2
padding = 0
rounding = "floor"

[up]
kind = "linear"
scale = 2
align_corners = true

[merge]
kind = "concatenate"
order = ["skip", "upsampled"]
size_mismatch = "error"

[head]
kernel = 1
padding = 0
bias = true
norm = { kind = "layer", epsilon = 0.001 }

[checkpoint]
scheme = "lab"
ignore = ["*.n"]

[checkpoint.keys]
"a b.*" = "*"
Out-1_w = "head.weight"

[checkpoint.aliases]
"c.*" = "a b.*"
"é" = "è"

[[override]]
part = "encoder"
levels = [1]
conv = { kernel = [1, 3], padding = [0, 1] }
down = { stride = 2 }

[[override]]
part = "decoder"
conv = { bias = false }
"""


def test_the_text_is_laid_out_as_people_write_it(tmp_path: Path) -> None:
    """Plain keys first, a blank line before each table, and what is within a table on a line of its own."""
    path = tmp_path / "small.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    assert to_toml(UNetSpec.from_toml(path)) == WRITTEN
