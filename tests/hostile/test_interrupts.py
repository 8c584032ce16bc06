"""Processes killed at random moments while they write: every file is the old one or the new one, and whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends import checkpoints
from shared_specs import initial_weights, load_spec, save_weights

ROOT = Path(__file__).parents[2]

KINDS = 6
"""Of files, which `killed.py` writes: weights in two formats, a record, a report, a spec and a folder."""


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.full)])
def test_a_killed_writer_leaves_whole_files(kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.hostile.killed", str(tmp_path), str(kills), "0"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["kills"] == kills and found["old"] + found["new"] == KINDS * kills
    assert found["left_behind"] > 0  # or none was killed in the middle of anything
    if kills > 100:
        assert found["old"] > kills and found["new"] > kills
        with capsys.disabled():
            print(f"\n{found}")


SIGNALS = {"killed": signal.SIGKILL, "interrupted": signal.SIGINT}


@pytest.mark.full
@pytest.mark.usefixtures("interrupts_heard")
@pytest.mark.needs_backends("pytorch", "flax_nnx")
@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("target", ["x.pt", "x.safetensors", "x"])
def test_a_conversion_that_ends_early_leaves_the_old_checkpoint(
    target: str, number: signal.Signals, tmp_path: Path
) -> None:
    """The whole command, ended at ten moments of its run and more densely towards its end, when it writes."""
    spec = load_spec("unet_bn_same").narrow(8)
    source, path = tmp_path / "in.safetensors", tmp_path / "out" / target
    format_name = {"x.pt": "pytorch", "x.safetensors": "canonical", "x": "flax_nnx"}[target]
    old, new = (initial_weights(spec, seed, np.float32) for seed in (0, 1))
    save_weights(source, new, spec)
    command = [sys.executable, "-m", "tandem", "convert", str(source), str(path), "--spec", "unet_bn_same"]
    command += ["--narrow", "8", "--no-check"]

    def restart() -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        checkpoints.get(format_name).write(path, spec, old)

    def now() -> dict[str, bytes]:
        module = checkpoints.get(format_name)
        return bits(module.to_canonical(spec, module.read(path).tensors))

    restart()
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    whole_s = time.perf_counter() - start
    assert now() == bits(new)
    moments, ended_early = random.Random(0), 0
    for _ in range(10):
        restart()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(whole_s * moments.uniform(0.0, 1.0) ** 0.5)
        process.send_signal(number)
        _, said = process.communicate()
        ended_early += process.returncode != 0
        assert now() in (bits(old), bits(new))
        assert [child.name for child in path.parent.iterdir() if not child.name.startswith(".")] == [path.name]
        if number == signal.SIGINT:
            assert "Traceback" not in said or process.returncode < 0, said  # before the command line has begun
    assert ended_early > 2
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert now() == bits(new)


def bits(weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in weights.items()}


@pytest.mark.parametrize("leftover", [".x.safetensors.abc123", ".x.safetensors"])
def test_what_a_killed_process_left_is_not_in_the_way(
    leftover: str, tmp_path: Path, variant: Callable[..., object]
) -> None:
    spec = load_spec("unet_bn_same").narrow(32)
    (tmp_path / leftover).write_bytes(b"half")
    save_weights(tmp_path / "x.safetensors", initial_weights(spec), spec)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([leftover, "x.safetensors"])
    assert (tmp_path / leftover).read_bytes() == b"half"
