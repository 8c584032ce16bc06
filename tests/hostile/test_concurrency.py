"""Two processes that write at once: nothing is lost, and nothing is half of one and half of the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.record_files import load_records, save_record
from shared_specs import load_spec, load_weights
from tandem.commands.compare import make_folder

from .results import record

ROOT = Path(__file__).parents[2]

MANY = 60

RECORDS = """
import sys
from pathlib import Path
from benchmarks.record_files import save_record
from tests.hostile.results import record
backend, folder = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for replicate in range(1, {many} + 1):
    save_record(record(backend, replicate), folder)
    save_record(record("of_both", replicate, message=backend * 1000), folder)
"""

SAME_FILES = """
import sys
from pathlib import Path
import numpy as np
from shared_specs import initial_weights, load_spec, save_weights
from shared_specs.files import folder_written_whole
number, folder = int(sys.argv[1]), Path(sys.argv[2])
spec = load_spec("unet_bn_same").narrow(32)
weights = initial_weights(spec, number, np.float32)
print("ready", flush=True)
sys.stdin.readline()
for _ in range({many}):
    save_weights(folder / "x.safetensors", weights, spec)
    with folder_written_whole(folder / "checkpoint") as made:
        made.mkdir()
        for name in ("a", "b", "c"):
            (made / name).write_text(str(number) * 10_000)
"""


def run_both(script: str, arguments: tuple[str, str], folder: Path) -> None:
    """Run a script twice at the same time; both begin once both are ready."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script.format(many=MANY), argument, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for argument in arguments
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said


def test_two_runs_in_one_results_folder_lose_nothing(tmp_path: Path) -> None:
    """Neither of cells that one of them measures, nor of those that both do: the last one counts, both are kept."""
    folder = tmp_path / "results"  # which both make
    run_both(RECORDS, ("pytorch", "flax_nnx"), folder)
    found = load_records(folder)
    assert sorted((record.cell.backend, record.replicate) for record in found) == sorted(
        (backend, replicate)
        for backend in ("pytorch", "flax_nnx", "of_both", "of_both")
        for replicate in range(1, MANY + 1)
    )
    of_both = [record.message[:8] for record in found if record.cell.backend == "of_both"]
    assert of_both.count("pytorchp") == of_both.count("flax_nnx") == MANY
    assert len(list(folder.iterdir())) == len(found)


def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    """And one that measures again takes the place of what it has measured itself."""
    path = save_record(record(message="first"), tmp_path)
    assert save_record(record(message="again"), tmp_path) == path
    script = RECORDS.format(many=1)
    os.utime(path, (0, 0))
    subprocess.run([sys.executable, "-c", script, "pytorch", tmp_path], cwd=ROOT, input=b"go\n", check=True)
    assert [found.message for found in load_records(path)] == [""]
    assert {found.name for found in tmp_path.glob("*pytorch*")} == {path.name}


def test_two_comparisons_that_start_together_have_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is named after the second in which it is made."""
    monkeypatch.chdir(tmp_path)
    made = [make_folder(Path("out") / "net-2026-01-01-000000", fresh=True) for _ in range(3)]
    assert [folder.name[-6:] for folder in made] == ["000000", "0000-2", "0000-3"]
    assert all(folder.is_dir() for folder in made)
    assert make_folder(made[0]) == made[0]  # one that was named is gone on with


def test_two_writers_of_one_checkpoint_leave_one_of_both(tmp_path: Path) -> None:
    run_both(SAME_FILES, ("0", "1"), tmp_path)
    load_weights(tmp_path / "x.safetensors", load_spec("unet_bn_same").narrow(32))
    written = {(tmp_path / "checkpoint" / name).read_text() for name in ("a", "b", "c")}
    assert written in ({"0" * 10_000}, {"1" * 10_000})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "x.safetensors"]
