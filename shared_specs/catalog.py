"""The zoo: spec files by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
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
    near = nearest_names(text, spec_names())
    known = (
        f"the nearest are {', '.join(near)}; `tandem list` shows all"
        if near
        else f"the zoo has {', '.join(spec_names())}"
    )
    raise SpecError(f"no spec is named {text!r}; {known}; or give a path to a .toml file")


def nearest_names(text: str, names: Sequence[str], most: int = 4) -> list[str]:
    """The names that hold the text or its words, or are written alike, the nearest first."""
    plain = "_".join(re.findall(r"[a-z0-9]+|\+", text.lower())).replace("+", "plus")
    words = set(re.findall(r"\d+d|[a-z]{2,}", plain))

    def nearness(name: str) -> tuple[bool, int, float]:
        holds = bool(plain) and (plain in name or name in plain)
        shared = sum(word in name for word in words - {"unet"})  # which nearly every name holds
        return holds, shared, difflib.SequenceMatcher(None, plain, name).ratio()

    ranks = {name: nearness(name) for name in names}
    near = [name for name, (holds, shared, ratio) in ranks.items() if holds or shared or ratio >= ALIKE]
    return sorted(near, key=lambda name: ranks[name], reverse=True)[:most]


ALIKE = 0.5
"""The share of letters that two names have to have in common, in order."""


@cache
def _from_zoo(name: str) -> UNetSpec:
    return UNetSpec.from_toml(ZOO / f"{name}.toml")
