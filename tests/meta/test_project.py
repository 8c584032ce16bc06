"""The project keeps its promises about itself: light start, import contracts, mirrored folders, honest metadata."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from backends.registry import BUILT_IN, GROUP, REQUIREMENTS
from tests.conftest import LONGEST

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FRAMEWORKS = ("torch", "jax", "jaxlib", "flax", "optax", "onnx", "onnxruntime")

WATCH_IMPORTS = """
import atexit, runpy, sys
atexit.register(lambda: print("loaded:", *[name for name in {frameworks!r} if name in sys.modules]))
sys.argv = {argv!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


@cache  # two tests ask for the same runs
def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments` in a fresh process, which says at its end which frameworks it has loaded."""
    code = WATCH_IMPORTS.format(frameworks=FRAMEWORKS, argv=[module, *arguments], module=module)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("arguments", "collected"),
    [
        (["tandem", "--help"], "compare"),
        (["tandem", "list", "--help"], "Usage"),
        (["pytest", "--collect-only", "-q", "-p", "no:cacheprovider"], "tests/meta/test_project.py::"),
        (["pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--benchmark-only"], "benchmarks/test_"),
    ],
    ids=["help", "help_of_list", "tests", "benchmarks"],
)
def test_starts_without_loading_a_framework(arguments: list[str], collected: str) -> None:
    result = run_module(*arguments)
    assert result.returncode == 0, result.stdout[-2_000:] + result.stderr[-2_000:]
    assert collected in result.stdout
    assert result.stdout.splitlines()[-1].strip() == "loaded:"


@pytest.mark.needs_backends("pytorch")
def test_a_loaded_framework_would_be_seen() -> None:
    result = run_module("backends.pytorch.backend")
    assert "torch" in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "inside", "outside"),
    [([], "tests/", "benchmarks/"), (["--benchmark-only"], "benchmarks/", "tests/")],
    ids=["default", "benchmark_only"],
)
def test_pytest_collects_one_suite(arguments: list[str], inside: str, outside: str) -> None:
    result = run_module("pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments)
    collected = [line for line in result.stdout.splitlines() if "::" in line]
    assert [line for line in collected if line.startswith(inside)]
    assert not [line for line in collected if line.startswith(outside)]


def test_import_contracts_hold() -> None:
    """The contracts of pyproject.toml: packages import downwards, a backend folder its own framework only."""
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_entry_points_are_the_built_in_backends() -> None:
    assert PROJECT["project"]["entry-points"][GROUP] == BUILT_IN


@pytest.mark.parametrize("name", [name for name, (_, extra) in REQUIREMENTS.items() if extra])
def test_a_missing_backend_names_an_extra_that_installs_it(name: str) -> None:
    modules, extra = REQUIREMENTS[name]
    installs = " ".join(PROJECT["project"]["optional-dependencies"][extra])
    assert [module for module in modules if module not in installs] == []


@pytest.mark.parametrize("extra", ["", "torch", "flax", "onnx", "report", "cluster", "test", "dev", "docs", "mutants"])
def test_every_dependency_has_a_tested_version(extra: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {line.partition("==")[0].replace("_", "-").lower() for line in lines if not line.startswith("#")}
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    names = {requirement.partition(">=")[0].partition("[")[0] for requirement in wanted}
    assert names
    assert names - {"tandem"} <= tested  # an extra of ours that another one includes


NOISY = {"noisy.py", "noisy_layers.py", "rounding.py"}
"""The reference under noise at large sizes: one framework that has it serves all."""


APART = {"network.py", "ops.py", "orbax.py"}
"""The engine of JAX. A torch.nn.Module holds its tensors, and needs no pure functions beside it."""


def files_of(*folders: str) -> set[str]:
    return {path.name for folder in folders for path in (ROOT / "backends" / folder).glob("*.py")}


def test_backend_folders_are_mirrored() -> None:
    """What Flax's backends share stands in the engine's folder, under the same names."""
    theirs = files_of("pytorch")
    assert {"unet.py", "weights.py", "model.py"} <= files_of("flax_nnx") <= theirs | APART
    assert files_of("flax_nnx", "jax_engine") - APART == theirs - NOISY
    assert files_of("flax_linen") == files_of("flax_nnx")


@pytest.mark.parametrize("file", sorted(files_of("flax_linen")))
def test_linen_is_nnx_name_by_name(file: str) -> None:
    """The same classes and functions in the same order, and as far as both have them the same methods."""
    linen, nnx = (definitions(ROOT / "backends" / folder / file) for folder in ("flax_linen", "flax_nnx"))
    nnx = [name.replace("FlaxNNX", "FlaxLinen") for name in nnx]
    apart = ONLY_LINEN | ONLY_NNX
    assert [name for name in linen if name not in apart] == [name for name in nnx if name not in apart]
    assert not set(linen) & ONLY_NNX and not set(nnx) & ONLY_LINEN


ONLY_LINEN = {"at", "put", "_collections", "Network.variables", "UNet._outputs", "large_enough_for"}
"""Variables are trees of dictionaries in collections, and come into being where a layer is called."""
ONLY_NNX = {"value", "in_mode", "_random_state", "_hang", "UNet._steps"}
ONLY_NNX |= {"Network.module", "Network.heads", "Network.statistics"}
"""A module holds its variables, its mode and what it runs, and dropout the state of its random numbers."""


def definitions(path: Path) -> list[str]:
    """Classes, functions and methods of a file by name, in order. Linen's fields and `setup` are NNX's `__init__`."""
    found: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.append(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [method.name for method in node.body if isinstance(method, ast.FunctionDef)]
            found += [f"{node.name}.{name}" for name in methods if name not in ("__init__", "setup")]
    return found


@pytest.mark.parametrize("folder", ["tandem", "benchmarks", "parity", "backends", "shared_specs"])
def test_files_say_what_they_are_for(folder: str) -> None:
    silent = [
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob("*.py")
        if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []


def test_modules_that_must_not_need_a_framework_do_not() -> None:
    modules = ["shared_specs", "backends", "parity", "tandem.cli", "backends.numpy_reference"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({FRAMEWORKS})); import {', '.join(modules)}; print('imported')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout == "imported\n", result.stderr


def test_files_that_begin_a_run_of_the_tests_exist() -> None:
    """One that was renamed would be begun last, and one process wait for it."""
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
