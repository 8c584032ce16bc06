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
