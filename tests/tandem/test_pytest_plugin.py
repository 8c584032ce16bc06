"""The fixture `parity` in a user's own tests, which pytest runs in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "tandem.pytest_plugin", "-p", "no:cacheprovider")
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]

USERS_TESTS = """
import sys

import backends
from shared_specs import load_spec
from tests.parity import ports


def test_sound_port(parity):
    module = ports.trained()
    comparison = parity.assert_equal(module, ports.ported(module))
    assert comparison.verdict.execution.precision == parity.precision


def test_tiny_fault(parity):
    module = ports.trained()
    parity.assert_equal(module, ports.ported(module, epsilon=1.0001e-5), probes=["forward", "activations"])


def test_model(parity):
    execution = backends.Execution(precision=parity.precision)
    model = backends.get("pytorch").build(load_spec("unet_bn_same").narrow(32), execution)
    parity.assert_equal(model, model, probes="forward")


def test_model_in_float32(parity):
    model = backends.get("pytorch").build(load_spec("unet_bn_same").narrow(32))
    parity.assert_equal(model, model, probes="forward")


def test_without_optax(parity, monkeypatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    backends.get.cache_clear()
    module = ports.trained()
    parity.assert_equal(module, ports.ported(module))
"""


def installed(folder: Path) -> Path:
    """A folder for PYTHONPATH with a package that has the entry points of `pyproject.toml`."""
    about = folder / "tandem_as_it_is-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tandem-as-it-is\nVersion: 0\n", encoding="utf-8")
    points = "".join(f"{name} = {module}\n" for name, module in POINTS.items())
    (about / "entry_points.txt").write_text(f"[pytest11]\n{points}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def users_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints for the tests above, once: it loads both frameworks, each of which can be loaded only once."""
    folder = tmp_path_factory.mktemp("users_project")
    (folder / "test_port.py").write_text(USERS_TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--parity-precision=float64,float32"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{installed(tmp_path_factory.mktemp('packages'))}"
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout[-3_000:] + result.stderr[-3_000:]
    return result.stdout


needs_both = pytest.mark.needs_backends("pytorch", "flax_nnx")

OUTCOMES = {
    "test_sound_port[float64]": "PASSED",
    "test_sound_port[float32]": "PASSED",
    "test_tiny_fault[float64]": "FAILED",
    "test_tiny_fault[float32]": "PASSED",  # in the noise of float32, which is why float64 is the default
    "test_model[float64]": "PASSED",
    "test_model[float32]": "PASSED",
    "test_model_in_float32[float64]": "FAILED",
    "test_model_in_float32[float32]": "PASSED",
    "test_without_optax[float64]": "FAILED",
    "test_without_optax[float32]": "FAILED",
}


@needs_both
def test_a_test_runs_once_for_each_precision(users_run: str) -> None:
    assert dict(re.findall(r"^test_port\.py::(\S+) (\w+)", users_run, re.MULTILINE)) == OUTCOMES
    assert "\nparity: float64, float32\n" in users_run


def told(users_run: str, test: str) -> str:
    """What the run says of a test that failed."""
    found = re.search(rf"_ {re.escape(test)} _+\n(.*?)(\n_{{3,}} |\n=====)", users_run, re.DOTALL)
    assert found is not None
    return found[1]


@needs_both
def test_a_fault_fails_with_the_tables_and_the_first_difference(users_run: str) -> None:
    said = told(users_run, "test_tiny_fault[float64]")
    assert "AssertionError: TorchUNet (pytorch) and FlaxUNet (flax_nnx) are not the same network\n" in said
    assert re.search(r"^E .*: DIFFERENT, distances in noise floors, at most 64 allowed$", said, re.MULTILINE)
    assert re.search(r"^E +activations( +\S+)+ +encoder\.1\.block\.0\.conv", said, re.MULTILINE)
    before, _, after = said.partition("first difference")
    tables = [line for line in before.splitlines() if line.startswith("E ")][:-1]
    assert len(tables) > 8 and max(map(len, tables)) <= 120
    first = r"^E .*first difference: activations: encoder\.1\.block\.0\.conv: FlaxUNet \(flax_nnx\) has .*\(limit 64\)"
    assert re.search(first, said, re.MULTILINE)
    called = "encoder.1.block.0.conv is conv2d (bottom.0) in TorchUNet (pytorch) and bottom.conv in FlaxUNet (flax_nnx)"
    assert re.search(rf"^E +{re.escape(called)}$", after, re.MULTILINE)


@needs_both
@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("test_without_optax[float64]", "backend flax_nnx needs optax, not installed here; pip install 'tandem[flax]'"),
        ("test_model_in_float32[float64]", "the reference is a model in float32, and the comparison is in float64;"),
    ],
)
def test_what_stands_in_the_way_is_one_line(users_run: str, test: str, words: str) -> None:
    (line,) = [line for line in told(users_run, test).splitlines() if line.startswith("E ")]
    assert words in line


@needs_both
@pytest.mark.parametrize("test", [name for name, outcome in OUTCOMES.items() if outcome == "FAILED"])
def test_the_traceback_ends_in_the_users_test(users_run: str, test: str) -> None:
    said = told(users_run, test)
    assert ">       parity.assert_equal(m" in said
    assert re.findall(r"^(\S+\.py):\d+: ", said, re.MULTILINE) == ["test_port.py"]


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on a file of tests that need no framework."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run_tests(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_port=text)
        return pytester.runpytest_inprocess(*PLUGIN, *arguments)

    return run_tests


PRECISION = "def test_precision(parity):\n    assert parity.precision == '{}'\n"


def test_the_precision_is_float64_unless_something_else_is_said(run: Run) -> None:
    result = run(PRECISION.format("float64"), "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["parity: float64", "test_port.py::test_precision PASSED*"])


def test_the_ini_file_says_the_precision(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nparity_precision = float32, bfloat16")
    run(PRECISION.format("float32"), "-k", "float32").assert_outcomes(passed=1, deselected=1)


def test_the_option_goes_before_the_ini_file(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nparity_precision = float64")
    run(PRECISION.format("float32"), "--parity-precision", "float32").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("given", "words"), [("float63", "no precision is named 'float63'"), (",", "got no precision")]
)
def test_an_unknown_precision_is_refused_in_one_line(run: Run, given: str, words: str) -> None:
    result = run(PRECISION.format("float64"), f"--parity-precision={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert line == f"ERROR: --parity-precision: {words}; take some of float64, float32, tf32, bfloat16"


def test_what_is_no_module_is_told_in_one_line(run: Run) -> None:
    result = run("def test_port(parity):\n    parity.assert_equal(3, 4)\n")
    result.assert_outcomes(failed=1)
    (line,) = [line for line in result.stdout.lines if line.startswith("E ")]
    assert "TandemError: the reference is a 'int', expected a torch.nn.Module, a flax.nnx.Module" in line


def test_the_plugin_loads_nothing_where_nobody_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
    code = (
        "import sys, pytest\n"
        f"assert pytest.main(['-q', *{PLUGIN!r}]) == 0\n"
        "watched = ['tandem.pytest_plugin', 'parity', 'backends', 'numpy', 'pydantic', 'rich', 'torch', 'jax']\n"
        "print('loaded:', *[name for name in watched if name in sys.modules])\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "loaded: tandem.pytest_plugin"
