"""The fixture `parity` in a user's own tests, which pytest runs in a folder of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

TESTS = """
from tests.parity import ports


def test_port(parity):
    module = ports.trained()
    parity.assert_equal(module, ports.ported(module{changes}){options})
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Write a file of tests, and run pytest in its folder with the plugin, as an entry point would load it."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run_tests(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_port=text)
        given = ("-p", "parity.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:randomly")
        return pytester.runpytest_inprocess(*given, *arguments)

    return run_tests


@pytest.fixture
def frameworks() -> None:
    """Loaded here: pytester forgets modules that were loaded inside, and neither can be loaded twice."""
    import flax.nnx
    import torch  # noqa: F401

    import parity.own_modules  # noqa: F401
    from tests.parity import ports  # noqa: F401

    assert flax.nnx


with_frameworks = pytest.mark.usefixtures("frameworks")
needs_both = pytest.mark.needs_backends("pytorch", "flax_nnx")


@needs_both
@with_frameworks
def test_a_sound_port_passes(run) -> None:
    result = run(TESTS.format(changes="", options=", probes=['forward', 'statistics']"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["parity: float64"])


@needs_both
@with_frameworks
def test_a_fault_fails_with_the_tables_and_the_first_difference(run) -> None:
    result = run(TESTS.format(changes=", epsilon=1e-3", options=", probes=['forward', 'activations']"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*parity.assert_equal(module, ports.ported(module, epsilon=1e-3)*",
            "E * TorchUNet (pytorch) and FlaxUNet (flax_nnx) are not the same network",
            "E *pair *probe *worst quantity *distance *",
            "E *TorchUNet (pytorch) | FlaxUNet (flax_nnx)*activations*encoder.1.block.0.conv*",
            "E *first difference: activations: encoder.1.block.0.conv: FlaxUNet (flax_nnx) has * (limit 64)",
            "test_port.py:7: AssertionError",
        ]
    )
    assert "own_modules.py" not in result.stdout.str()  # the way there is not the test's


@needs_both
@with_frameworks
@pytest.mark.parametrize("given", ["option", "ini"])
def test_several_precisions_run_the_test_once_each(run, pytester: pytest.Pytester, given: str) -> None:
    if given == "ini":
        pytester.makeini("[pytest]\nparity_precision = float64, float32")
    arguments = ["--parity-precision=float64,float32"] if given == "option" else []
    result = run(TESTS.format(changes=", epsilon=1.0001e-5", options=", probes=['activations']"), "-v", *arguments)
    result.stdout.fnmatch_lines(
        ["parity: float64, float32", "*::test_port?float64? FAILED*", "*::test_port?float32? PASSED*"]
    )


PRECISION = "def test_precision(parity):\n    assert parity.precision == 'float32'\n"


def test_the_option_goes_before_the_ini_file(run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nparity_precision = float64")
    run(PRECISION, "--parity-precision", "float32").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("given", "words"), [("float63", "no precision is named 'float63'"), (",", "got no precision")]
)
def test_an_unknown_precision_is_refused_in_one_line(run, given: str, words: str) -> None:
    result = run(PRECISION, f"--parity-precision={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.stderr.lines if line]
    assert line == f"ERROR: --parity-precision: {words}; take some of float64, float32, tf32, bfloat16"


@needs_both
@with_frameworks
def test_what_cannot_be_compared_is_one_line(run) -> None:
    result = run("def test_port(parity):\n    parity.assert_equal(3, 4)\n")
    result.assert_outcomes(failed=1)
    lines = [line for line in result.stdout.lines if line.startswith("E ")]
    assert len(lines) == 1
    assert "TandemError: the reference is a 'int', expected a torch.nn.Module, a flax.nnx.Module" in lines[0]
    assert "own_modules.py" not in result.stdout.str()


@needs_both
@with_frameworks
def test_a_missing_library_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    import backends

    monkeypatch.setitem(sys.modules, "optax", None)
    backends.get.cache_clear()
    result = run(TESTS.format(changes="", options=", probes=['forward']"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *backend flax_nnx needs optax, not installed here; pip install 'tandem?flax?'"])


@pytest.mark.needs_backends("pytorch")
def test_a_model_is_built_in_the_precision_of_the_run(run) -> None:
    import torch  # noqa: F401

    import parity.own_modules  # noqa: F401

    text = (
        "import backends\nfrom shared_specs import load_spec\n\n"
        "def test_port(parity):\n"
        "    execution = backends.Execution(precision={precision})\n"
        "    model = backends.get('pytorch').build(load_spec('unet_bn_same').narrow(32), execution)\n"
        "    parity.assert_equal(model, model, probes='forward')\n"
    )
    run(text.format(precision="parity.precision"), "--parity-precision=float32").assert_outcomes(passed=1)
    result = run(text.format(precision="'float64'"), "--parity-precision=float32")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *the reference is a model in float64, and the comparison is in float32; build it*"])


def test_the_plugin_loads_nothing_where_nobody_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'parity.pytest_plugin', '-p', 'no:cacheprovider']) == 0\n"
        "print('loaded:', *[n for n in ('parity.pytest_plugin', 'numpy', 'pydantic', 'rich', 'backends', 'shared_specs',"
        " 'torch', 'jax') if n in sys.modules])\n"
    )
    environment = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "loaded: parity.pytest_plugin"
