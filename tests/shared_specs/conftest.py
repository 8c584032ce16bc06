"""Specs of the zoo with some keys changed, as files and as specs."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared_specs import UNetSpec
from shared_specs.catalog import ZOO

from ..toml_text import document


def changed(base: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The values of a zoo file with dotted keys set, or removed where the value is None."""
    values = tomllib.loads((ZOO / f"{base}.toml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *tables, leaf = key.split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
        if value is None:
            del table[leaf]
        else:
            table[leaf] = copy.deepcopy(value)  # which a later key may go into
    return values


@pytest.fixture(scope="session")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a zoo file with keys changed, as in `spec_file({"norm.epsilon": 2.0}, base="unet_bn_same")`."""
    path = tmp_path_factory.mktemp("specs") / "changed.toml"

    def write(changes: dict[str, Any], base: str = "unet_bn_same") -> Path:
        path.write_text(document(changed(base, changes)), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def changed_spec(spec_file: Callable[..., Path]) -> Callable[..., UNetSpec]:
    """Reads a zoo spec with keys changed, as in `changed_spec({"widths": [4, 8]}, base="unet_same")`."""
    return lambda changes, base="unet_bn_same": UNetSpec.from_toml(spec_file(changes, base))
