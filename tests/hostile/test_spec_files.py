"""Spec files that are wrong in every way: one line that names the file, or a spec whose layout can be computed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from shared_specs import ShapeError, SpecError, TandemError, load_spec
from shared_specs.cost import layer_costs
from shared_specs.keymap import aliases_of, is_ignored, original_keys, pattern
from shared_specs.shapes import MOST_STEPS, feature_shapes, smallest_input

from ..toml_text import document
from .broken_specs import REAL, broken_specs
from .limits import limited

FEW, MANY = 150, 16_000
"""Files in the default run, and in the full one, of which more than FEWEST must have been refused."""

FEWEST = 10_000

LONGEST_MESSAGE = 3_000


def files(count: int) -> settings:
    return settings(max_examples=count, suppress_health_check=list(HealthCheck))


def is_one_clear_line(error: TandemError, start: str = "", longest: int = 10**6) -> None:
    message = str(error)
    assert message.startswith(start) and message.isprintable() and len(message) <= longest, message


def try_out(content: bytes, path: Path) -> bool:
    """Read a file and use the spec; whether it was refused. Anything but a TandemError of one line fails the test."""
    path.write_bytes(content)
    try:
        spec = load_spec(path)
    except SpecError as error:
        is_one_clear_line(error, f"{path}: ", LONGEST_MESSAGE)
        return True
    try:
        side = smallest_input(spec)
        images = (1, spec.in_channels, *(side,) * spec.dimensions)
        assert set(feature_shapes(spec, images)) == {layer.name for layer in spec.layers}
        assert all(cost.forward_flops >= 0 for cost in layer_costs(spec, images, 4).values())
    except ShapeError as error:
        is_one_clear_line(error, f"{spec.name}: ")
    if spec.checkpoint is not None:
        try:
            for key in [*original_keys(spec).values(), "1" * 300, "a" * 10_000]:
                is_ignored(spec, key)
                aliases_of(spec, key)
        except SpecError as error:
            is_one_clear_line(error)
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


BASE = tomllib.loads(REAL["unet_bn_same"])

ENORMOUS: dict[str, tuple[dict[str, Any], str]] = {
    "a_billion_channels": ({"widths": [10**9, 2 * 10**9]}, "widths.0: got 1000000000, expected less than or equal to"),
    "a_billion_classes": ({"out_channels": 10**9}, "out_channels: got 1000000000, expected less than or equal to"),
    "a_million_levels": ({"widths": [1] * 10**6}, "is larger than 32768 bytes"),
    "as_many_levels_as_a_file_holds": ({"widths": [1] * 10_000}, "widths: got [1, 1, 1"),
    "all_that_a_key_takes": ({"widths": [65_536] * 16, "conv": BASE["conv"] | {"kernel": 65_536}}, "parameters"),
    "a_level_that_is_not_there": (
        {"override": [{"part": "encoder", "levels": [10**6]}]},
        "override.0.levels.0: got 10",
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux holds a process to an address space")
@pytest.mark.parametrize(("changes", "message"), ENORMOUS.values(), ids=ENORMOUS)
def test_what_is_enormous_is_refused_before_it_is_allocated(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """A billion float32 would be 4 GB; the command has 2 GiB of address space for Python and NumPy with it."""
    path = tmp_path / "enormous.toml"
    path.write_text(document(BASE | changes))
    command = [sys.executable, "-m", "tandem", "show", str(path)]
    # By a process that limits itself: `preexec_fn` forks this one, which JAX's threads forbid.
    limited = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)); "
    ran = subprocess.run(
        [sys.executable, "-c", limited + "os.execv(sys.argv[1], sys.argv[1:])", *command],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: {path}: ") and message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_the_largest_network_that_a_file_can_say_is_searched_in_bounded_steps(tmp_path: Path) -> None:
    """Thousands of layers that fit at no size: the search gives up by the number of layers that it went through."""
    changes = {"widths": [2] * 16, "nested": True, "block": BASE["block"] | {"convolutions": 20}}
    path = tmp_path / "deep.toml"
    path.write_text(document(BASE | changes | {"conv": BASE["conv"] | {"padding": 2}}))
    spec = load_spec(path)
    assert len(spec.layers) > 8_000
    with pytest.raises(ShapeError, match=r"no square input between 1 and (\d+) pixels fits") as error:
        smallest_input(spec)
    last = int(str(error.value).partition("between 1 and ")[2].partition(" ")[0])
    assert last * len(spec.layers) <= MOST_STEPS


AMBIGUOUS = ["{a}{b}{c}{d}.*", "{i}1{i}1{i}1.*", "x{a}{b}{c}{d}{e}{f}"]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_a_pattern_that_can_be_read_in_too_many_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected at most 2 numbers with a digit or a number right after them"):
        pattern(text)


@pytest.mark.parametrize(("text", "fits"), [("a{i}{j}.*", "a12.x"), ("{i}1x{j}1", "21x31"), ("a{i}b{j}c{k}", "a1b2c3")])
def test_a_pattern_with_few_ways_is_read(text: str, fits: str) -> None:
    assert pattern(text).match(fits) is not None
