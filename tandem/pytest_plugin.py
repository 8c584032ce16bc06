"""The pytest plugin: with Tandem installed, a test of anybody's takes the fixture `parity`.

pytest loads it at every start, so it imports nothing of Tandem's before a test needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from parity import Comparison
    from shared_specs import UNetSpec
    from shared_specs.weights import Weights


OPTION, INI = "--parity-precision", "parity_precision"

DEFAULT = ("float64",)
"""Where every real difference is enormous."""

CONFORMANCE = "backends.conformance"

CHOSEN = pytest.StashKey[tuple[str, ...]]()


class Parity:
    """What the fixture `parity` gives to a test.

    Attributes:
        precision: what the run compares in: that of `--parity-precision`, or of the ini file, or float64.
    """

    def __init__(self, precision: str):
        self.precision = precision

    def assert_equal(
        self,
        reference: Any,
        candidate: Any,
        *,
        spec: UNetSpec | str | Path | None = None,
        probes: Sequence[str] | None = None,
        images: np.ndarray | Sequence[int] | None = None,
        labels: np.ndarray | None = None,
        weights: Weights | None = None,
        precision: str | None = None,
        seed: int = 0,
    ) -> Comparison:
        """Fail the test, with the tables of the comparison, unless both are the same network.

        Args:
            reference: a torch.nn.Module, a flax.nnx.Module, a flax.linen.Module bound to its variables, or a model that
                a backend of Tandem built.
            candidate: likewise.
            spec: what both are to be, or its name in the zoo, or the path of its file; inferred from a module of
                PyTorch where it is left out.
            probes: which of `parity.PROBES` to run, all by default.
            images: (N, C, H, W) in every framework, or their shape; random ones by default.
            labels: (N, H', W'), random by default.
            weights: canonical weights that both take; by default each has its own.
            precision: "float64" or "float32", that of the run by default.
            seed: of what is random.

        Raises:
            AssertionError: where they differ.
            TandemError: where nothing can be compared, in one line that says why.
        """
        __tracebackhide__ = True
        from parity import compare_modules
        from shared_specs import TandemError

        try:
            comparison = compare_modules(
                reference,
                candidate,
                spec=spec,
                probes=probes,
                images=images,
                labels=labels,
                weights=weights,
                precision=precision or self.precision,
                seed=seed,
            )
        except TandemError as error:
            raise type(error)(str(error)) from None  # without the way there, which is not the test's
        if not comparison.equal:
            raise AssertionError(_in_words(comparison))
        return comparison


def _in_words(comparison: Comparison) -> str:
    """What is different, in tables that fit beside pytest's margin."""
    from .verdict_tables import in_text

    said = [str(replace(comparison, verdict=None, notes=()))]
    said += [] if comparison.verdict is None else [in_text(comparison.verdict).rstrip()]
    return "\n".join([*said, *comparison.notes])


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """Compare two modules: `parity.assert_equal(reference, candidate)`. Runs once for each precision of the run."""
    return Parity(getattr(request, "param", request.config.stash[CHOSEN][0]))


def pytest_addoption(parser: pytest.Parser) -> None:
    meaning = "what the fixture `parity` compares in: float64 (the default), float32, or several with commas"
    parser.getgroup("parity", "Tandem's parity checks").addoption(OPTION, metavar="NAME,NAME", help=meaning)
    parser.addini(INI, f"{meaning}; {OPTION} goes before it")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser, args: list[str]) -> Generator[None, object, object]:
    """The option of `pytest --pyargs backends.conformance`, whose own conftest is read too late to add one.

    It is there in such runs alone, and where no conftest has added one of that name.
    """
    outcome = yield
    if any(arg.partition("::")[0].startswith(CONFORMANCE) for arg in args):
        with contextlib.suppress(ValueError):
            parser.addoption("--backend", action="append", help="the backend that the conformance suite examines")
    return outcome


def pytest_configure(config: pytest.Config) -> None:
    given = {OPTION: config.getoption(OPTION), INI: config.getini(INI)}
    config.stash[CHOSEN] = next((_precisions(where, value) for where, value in given.items() if value), DEFAULT)


def pytest_report_header(config: pytest.Config) -> str:
    return f"parity: {', '.join(config.stash[CHOSEN])}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.stash[CHOSEN]
    if "parity" in metafunc.fixturenames and len(chosen) > 1:
        metafunc.parametrize("parity", chosen, indirect=True)


def _precisions(where: str, value: str) -> tuple[str, ...]:
    """Raises UsageError for one that there is not."""
    from backends.precision import PRECISIONS

    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        got = f"no precision is named {unknown[0]!r}" if unknown else "got no precision"
        raise pytest.UsageError(f"{where}: {got}; take some of {', '.join(PRECISIONS)}")
    return names
