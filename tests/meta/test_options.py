"""A missing framework skips its tests with the reason, and `--require-backends` turns the skip into a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REASON = "backend pytorch needs torch, not installed here; pip install 'tandem[torch]'"


def pytest_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the one test of the costs that needs PyTorch where there seems to be none."""
    one_test = "tests/shared_specs/test_cost.py::test_flops_agree_with_pytorchs_counter"
    code = "import sys, pytest; sys.modules['torch'] = None; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-q", "-rs", "-p", "no:cacheprovider", one_test, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_missing_framework_skips_with_the_reason() -> None:
    result = pytest_without_torch()
    assert result.returncode == 0, result.stdout
    assert "5 skipped" in result.stdout
    assert REASON in result.stdout


@pytest.mark.parametrize("names", ["pytorch", "flax_nnx,pytorch"])
def test_required_backend_fails_instead(names: str) -> None:
    result = pytest_without_torch("--require-backends", names)
    assert result.returncode == 1, result.stdout
    assert "skipped" not in result.stdout
    assert f"--require-backends asks for pytorch: {REASON}" in result.stdout


def test_another_required_backend_changes_nothing() -> None:
    result = pytest_without_torch("--require-backends", "flax_nnx")
    assert (result.returncode, "5 skipped" in result.stdout) == (0, True), result.stdout


def test_unknown_required_backend_is_refused() -> None:
    result = pytest_without_torch("--require-backends", "pytorch,torch")
    assert result.returncode == 4
    assert "no backend is named torch; take some of numpy_reference, pytorch, flax_nnx" in result.stderr
