"""The zoo: spec files by name."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from .errors import SpecError
from .schema import UNetSpec

ZOO = Path(__file__).parent / "zoo"

CORE = ("unet_bn_crop", "unet_bn_pad", "unet_bn_same", "unet_paper", "unet_same")
"""The classic U-Net in five forms: what is tested at every precision, and timed where nothing else was asked for."""


def spec_names() -> list[str]:
    """The names of the zoo, in alphabetical order."""
    return sorted(path.stem for path in ZOO.glob("*.toml"))


def load_spec(name_or_path: str | Path) -> UNetSpec:
    """Read a spec by its name in the zoo or from a path to a TOML file.

    Raises:
        SpecError: where there is no such spec (with the nearest names) or the file is wrong.
    """
    text = str(name_or_path)
    if text in spec_names():
        return _from_zoo(text)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text:
        return UNetSpec.from_toml(name_or_path)
    near = difflib.get_close_matches(text, spec_names(), n=3, cutoff=0.4) or spec_names()
    raise SpecError(f"no spec is named {text!r}; the nearest are {', '.join(near)}; or give a path to a .toml file")


@cache
def _from_zoo(name: str) -> UNetSpec:
    return UNetSpec.from_toml(ZOO / f"{name}.toml")
