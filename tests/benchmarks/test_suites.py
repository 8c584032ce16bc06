"""The pytest suites themselves, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--precision", "float64", "--narrow", "32", "--size", "16", "--phase", "forward", "--device", "cpu"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "benchmarks", "--benchmark-only", "-p", "no:cacheprovider"]
    command += ["-p", "tests.quick_runs", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())


def environment() -> dict[str, str]:
    """Without what this run of pytest has set: pytest-benchmark times nothing in a process of pytest-xdist."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


@pytest.mark.needs_backends("onnxruntime")
def test_suite_times_what_is_equal_fails_what_is_not_and_skips_what_cannot_be(outside: None, tmp_path: Path) -> None:
    written, results = tmp_path / "benchmark.json", tmp_path / "results"
    backends = "numpy_reference,skipped_layer,wrong_later,onnxruntime"  # the last has no float64
    paths = ["--benchmark-json", str(written), "--results", str(results)]
    ended = run(*TINY, "--backend", backends, "--replicates", "2", *paths)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "4 failed, 2 passed, 1 skipped" in ended.stdout
    lacking = "onnxruntime has no precision 'float64'"
    assert f"unsupported: {lacking}" in ended.stdout
    assert "forward: not comparable: skipped_layer" in ended.stdout
    table = ended.stdout.partition("Legend:")[0].rpartition("benchmark '")[2]
    assert "numpy_reference" in table and "skipped" not in table
    assert "wrong_later" not in table, "what was refused after it was timed has a time"
    content = json.loads(written.read_text())
    benchmarks = content["benchmarks"]
    untimed = [(record["cell"]["backend"], record["status"]) for record in content["not_timed"]]
    refused = [(name, "not_comparable") for name in ("skipped_layer", "wrong_later") for _ in range(2)]
    assert sorted(untimed) == [("onnxruntime", "unsupported"), *refused]
    assert [entry["param"] for entry in benchmarks] == [
        "unet_bn_same_narrow32-numpy_reference-default-float64-r1",
        "unet_bn_same_narrow32-numpy_reference-default-float64-r2",
    ]
    for entry in benchmarks:
        record = entry["extra_info"]["record"]
        steps_s = [window["seconds"] / window["steps"] for window in record["windows"]]
        assert entry["stats"]["rounds"] == len(steps_s)
        assert abs(entry["stats"]["max"] - max(steps_s)) < 1e-9
        assert record["status"] == "ok"
        assert record["step_s"] == pytest.approx(entry["stats"]["median"], rel=1e-9)
    assert len(list(results.glob("*.json"))) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spec", "unet_papr"], "no spec is named 'unet_papr'; the nearest are"),
        (["--replicates", "0"], "--replicates: got 0, expected a number above 0"),
        (["--device", "abacus"], "no device is named 'abacus'; take one of cpu"),
        (["--results", "pyproject.toml"], "pyproject.toml: cannot be written; name a writable folder for the results"),
        (["--resume"], "--resume: goes on with what is in a folder; name it with --results"),
        (["--backend", "numpy_reference"], "numpy_reference has no precision 'float32'; take one of float64"),
    ],
)
def test_a_bad_choice_ends_the_run_in_one_line(arguments: list[str], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 4
    assert ended.stderr.strip().splitlines()[-1].startswith(f"ERROR: {message}")


def test_collecting_loads_no_framework_and_orders_a_b_b_a() -> None:
    code = (
        "import sys, pytest\n"
        "ended = pytest.main(['benchmarks', '--benchmark-only', '--collect-only', '-q', '-p', 'no:cacheprovider',\n"
        "  '--device', 'cpu', '--phase', 'forward', '--backend', 'numpy_reference,pytorch', '--replicates', '2',\n"
        "  '--precision', 'float64'])\n"
        "print('loaded', sorted({'torch', 'jax', 'flax'} & set(sys.modules)))\n"
        "sys.exit(ended)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "loaded []" in ended.stdout
    order = [
        line.rpartition("[")[2] for line in ended.stdout.splitlines() if line.startswith("benchmarks/test_forward")
    ]
    assert order == [
        f"unet_bn_same_narrow4-{who}]"
        for who in (
            "numpy_reference-default-float64-r1",
            "pytorch-default-float64-r1",
            "pytorch-default-float64-r2",
            "numpy_reference-default-float64-r2",
        )
    ]
