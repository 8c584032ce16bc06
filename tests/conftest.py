"""What all tests share: their axes, `--require-backends`, and small specs.

A test that takes `backend_name`, `precision`, `spec_name` (the core networks) or `zoo_name` (the others) as an argument
runs once for each, with ids such as `flax_nnx-float64-unet_paper`. `backend_name` is one of those that train, and
compute in float64; `any_backend_name` is every one that is registered. Test modules import no framework at the top, so
that collecting them loads none.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import backends
from backends.conformance.networks import small_variant
from backends.contract import PHASES
from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.catalog import CORE, _from_zoo

from . import mutants, quick_ceilings


def xla_flags() -> str:
    """What tells XLA to compile hundreds of programs for a few runs each: to make them fast takes longer than they do.

    Without these the programs of a small network take three times the CPU seconds to compile. What checks alone run has
    a level of its own (backends/jax_engine/compiling.py).
    """
    flags = ["--xla_backend_optimization_level=0"]
    # XLA ends a process that names a switch which its release does not have.
    if find_spec("jaxlib") and version("jaxlib").startswith("0.10."):
        flags += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    return " ".join(flags)


COMPILING = {
    # The same small networks are compiled again and again: keep what XLA made, by its own key, the program's text.
    "JAX_COMPILATION_CACHE_DIR": str(Path(__file__).parent.parent / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": xla_flags(),
}
"""How the tests compile. Benchmarks, for which pytest reads this file too, leave XLA as it is."""


def training_backends() -> list[str]:
    """Those with every phase and with float64, in which semantics are judged."""
    return [
        name
        for name in backends.names()
        if set(PHASES) <= set((can := backends.capabilities(name)).phases) and "float64" in can.precisions
    ]


AXES: dict[str, Callable[[], list[str]]] = {
    "backend_name": training_backends,
    "any_backend_name": backends.names,
    "precision": lambda: ["float64", "float32"],
    "spec_name": lambda: list(CORE),
    "zoo_name": lambda: [name for name in spec_names() if name not in CORE],
}
"""In the order of the ids; what a test parametrises itself comes after them."""

LONGEST = (
    "tests/parity/test_whole_zoo.py",
    "tests/parity/test_variants.py",
    "tests/parity/test_zoo_parity.py",
    "tests/backends/test_conformance.py",
    "tests/meta/faults/test_faults.py",
    "tests/docs/test_code_blocks.py",
    "tests/benchmarks/test_gate.py",
    "tests/backends/test_tunings.py",
    "tests/benchmarks/test_measure.py",
    "tests/parity/test_random_specs.py",
    "tests/benchmarks/test_cluster.py",
    "tests/tandem/test_compare.py",
    "tests/backends/test_equinox_plugin.py",
    "tests/backends/test_replicas.py",
    "tests/parity/test_data_parallel.py",
)
"""Files of more than half a minute, the longest first."""

hypothesis.settings.register_profile("tandem", deadline=None, derandomize=True, database=None)
# mutmut asks whether an example fails, and not for the simplest one, the search for which takes minutes a mutant.
quick = [phase for phase in hypothesis.Phase if phase not in (hypothesis.Phase.shrink, hypothesis.Phase.explain)]
# It also runs the tests of a class twice in one process, with no mutant yet.
again = [hypothesis.HealthCheck.differing_executors]
hypothesis.settings.register_profile(
    "mutants", hypothesis.settings.get_profile("tandem"), phases=quick, suppress_health_check=again
)
hypothesis.settings.load_profile("mutants" if "MUTANT_UNDER_TEST" in os.environ else "tandem")


@pytest.fixture(autouse="MUTANT_UNDER_TEST" in os.environ)
def zoo_read_anew() -> None:
    """Every mutant runs in a fork of one process, in which the zoo's networks were built already, without it."""
    _from_zoo.cache_clear()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backends",
        metavar="NAME,NAME",
        default="",
        help="backends whose tests must run: a missing framework fails them and does not skip them",
    )


def required_backends(config: pytest.Config) -> list[str]:
    return [name for name in config.getoption("require_backends").split(",") if name]


def pytest_configure(config: pytest.Config) -> None:
    if "__mutmut_" in (mutant := os.environ.get("MUTANT_UNDER_TEST", "")):
        config.args[:] = mutants.chosen(mutant, config.args, mutants.durations())
    if not config.getoption("benchmark_only", False):
        for name, value in COMPILING.items():
            os.environ.setdefault(name, value)
        quick_ceilings.pytest_configure(config)
    config.option.loadscopereorder = False  # pytest-xdist would begin with the files of most tests
    unknown = set(required_backends(config)) - set(backends.names())
    if unknown:
        raise pytest.UsageError(
            f"--require-backends: no backend is named {', '.join(sorted(unknown))}; "
            f"take some of {', '.join(backends.names())}"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _argnames(mark)}
    for axis, values in AXES.items():
        if axis in metafunc.fixturenames and axis not in marked:
            metafunc.parametrize(axis, values(), scope="module")


def _argnames(mark: pytest.Mark) -> list[str]:
    names = mark.args[0] if mark.args else mark.kwargs["argnames"]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose backend is missing here."""
    names = [name for mark in item.iter_markers("needs_backends") for name in mark.args]
    callspec: Any = getattr(item, "callspec", None)
    for axis in ("backend_name", "any_backend_name"):
        if callspec and axis in callspec.params:
            names.append(callspec.params[axis])
    for name in names:
        reason = backends.missing(name)
        if reason and name in required_backends(item.config):
            pytest.fail(f"--require-backends asks for {name}: {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.fixture
def interrupts_heard() -> Iterator[None]:
    """A shell has its background jobs ignore interrupts, and so would all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def variant() -> Callable[..., UNetSpec]:
    return small_variant


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `-n 2 --dist loadfile` the longest files come first, so that no process waits for the other at the end."""
    if hasattr(config, "workerinput"):
        rank = {name: number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: every collection of garbage would look through them, which takes a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def spec(spec_name: str) -> UNetSpec:
    """Each of the five core networks, narrow enough to be quick."""
    return load_spec(spec_name).narrow(16)
