"""Spec files that are wrong in every way: one line that names the file, or a spec whose layout can be computed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from shared_specs import ShapeError, SpecError, TandemError, load_spec
from shared_specs.cost import layer_costs
from shared_specs.keymap import aliases_of, is_ignored, original_keys
from shared_specs.shapes import feature_shapes, smallest_input

from .broken_specs import REAL, broken_specs, document
from .limits import limited

FEW, MANY = 250, 16_000
"""Files in the default run, and in the full one, of which more than FEWEST must have been refused."""

FEWEST = 10_000

LONGEST_MESSAGE = 3_000

def files(count: int) -> settings:
    return settings(max_examples=count, suppress_health_check=list(HealthCheck))


def say(error: TandemError, path: Path) -> None:
    message = str(error)
    assert message.startswith(f"{path}: "), message
    assert message.isprintable() and len(message) <= LONGEST_MESSAGE, message


def try_out(content: bytes, path: Path) -> bool:
    """Read a file and use the spec; whether it was refused. Anything but a TandemError of one line fails the test."""
    path.write_bytes(content)
    try:
        spec = load_spec(path)
    except SpecError as error:
        say(error, path)
        return True
    try:
        side = smallest_input(spec)
        images = (1, spec.in_channels, *(side,) * spec.dimensions)
        assert set(feature_shapes(spec, images)) == {layer.name for layer in spec.layers}
        assert all(cost.forward_flops >= 0 for cost in layer_costs(spec, images, 4).values())
    except ShapeError as error:
        assert str(error).startswith(f"{spec.name}: ") and str(error).isprintable()
    if spec.checkpoint is not None:
        try:
            for key in [*original_keys(spec).values(), "1" * 300, "a" * 10_000]:
                is_ignored(spec, key)
                aliases_of(spec, key)
        except SpecError as error:
            assert str(error).isprintable()
    return False


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "broken.toml"


@files(FEW)
@given(content=broken_specs())
def test_a_broken_spec_is_told_in_one_line(content: bytes, path: Path) -> None:
    try_out(content, path)


@pytest.mark.full
def test_ten_thousand_broken_specs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None may take more than 20 seconds or half a GiB; the printed line says how many were refused."""
    refused = []

    @files(MANY)
    @given(content=broken_specs())
    def every_one(content: bytes) -> None:
        with limited(seconds=20, more_bytes=2**29):
            refused.append(try_out(content, path))

    every_one()
    with capsys.disabled():
        print(f"\n{len(refused)} spec files, {sum(refused)} of them refused, each in one line")
    assert sum(refused) >= FEWEST
