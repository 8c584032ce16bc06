"""Write files again and again in a process that is killed at a random moment, and look at what is left: a script.

    python -m tests.hostile.killed FOLDER KILLS SEED

Each time a fork writes all kinds of file, old and new content in turn, until SIGKILL ends it. Afterwards each file must
be one of the two, whole, and this process must be able to write over it. Prints what was found as JSON. Nothing here
starts threads, so that a fork is safe; Orbax and JAX do, and are killed as whole commands in `test_interrupts.py`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np

from backends import checkpoints
from benchmarks.record_files import load_records, save_record
from shared_specs import initial_weights, load_spec, load_weights, save_weights
from shared_specs.files import folder_written_whole, write_atomically
from shared_specs.toml import to_toml
from tandem.report import load, to_markdown

from .results import record

SPEC = load_spec("unet_bn_same").narrow(16)
WEIGHTS = [initial_weights(SPEC, seed, np.float32) for seed in (0, 1)]
RECORDS = [record(latencies_s=(0.1,) * 10), record(latencies_s=(0.2,) * 2_000)]


def report(folder: Path, version: int) -> None:
    page = to_markdown(load([folder / "records"]))
    write_atomically(folder / "report.md", (page + f"version {version}\n" * (1 + 10_000 * version)).encode())


def some_files(folder: Path, version: int) -> None:
    """As a checkpoint of Orbax: a folder of files, one within another."""
    with folder_written_whole(folder / "checkpoint") as made:
        (made / "d").mkdir(parents=True)
        for name in ("_METADATA", "d/1", "d/2"):
            (made / name).write_bytes(b"%d" % version * 100_000)


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "weights.safetensors": lambda folder, version: save_weights(folder / "weights.safetensors", WEIGHTS[version], SPEC),
    "weights.pt": lambda folder, version: checkpoints.get("pytorch").write(
        folder / "weights.pt", SPEC, WEIGHTS[version]
    ),
    "records": lambda folder, version: save_record(RECORDS[version], folder / "records"),
    "report.md": report,
    "spec.toml": lambda folder, version: write_atomically(
        folder / "spec.toml", to_toml(SPEC).encode() * (1 + 50 * version)
    ),
    "checkpoint": some_files,
}


def state(path: Path) -> dict[str, bytes]:
    """The content of a file, or of all files of a folder that are not hidden. Raises WeightsError for broken ones."""
    if path.suffix == ".safetensors":  # whose header has the same entries in another order each time
        return {name: values.tobytes() for name, values in load_weights(path, SPEC).items()}
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files if not file.name.startswith(".")}


def left_behind(folder: Path) -> list[Path]:
    """What a process that is killed in the middle of writing cannot take away: hidden beside the file."""
    return [path for path in folder.rglob(".*") if not any(part.startswith(".") for part in path.parts[:-1])]


def whole_versions(folder: Path) -> dict[str, list[dict[str, bytes]]]:
    """What each kind of file holds when it was written in peace."""
    found: dict[str, list[dict[str, bytes]]] = {name: [] for name in WRITERS}
    for version in (0, 1):
        for name, write in WRITERS.items():
            write(folder, version)
            found[name].append(state(folder / name))
    for name, (old, new) in found.items():
        assert old != new and old.keys() == new.keys(), name
    return found


def write_until_killed(folder: Path) -> None:
    for version in cycle((0, 1)):
        for write in WRITERS.values():
            write(folder, version)


def main(folder: Path, kills: int, seed: int) -> None:
    moments = random.Random(seed)
    (folder / "quiet").mkdir()
    work = folder / "work"
    work.mkdir()
    whole = whole_versions(folder / "quiet")
    whole_versions(work)
    one_round_s, found = round_s(folder / "quiet"), {"kills": 0, "old": 0, "new": 0, "left_behind": 0}
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            write_until_killed(work)
        time.sleep(moments.uniform(0, 4 * one_round_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, f"the writer ended by itself: {status}"
        found["kills"] += 1
        for name in WRITERS:
            now = state(work / name)
            assert now in whole[name] or (name == "report.md" and is_whole_report(now["."])), f"{name} is neither"
            found["new" if now == whole[name][1] else "old"] += 1
        found["left_behind"] += len(left_behind(work))
        # What was left behind lies beside: it is neither read nor in the way.
        assert len(load_records(work / "records")) == 1
        for name, write in WRITERS.items():
            write(work, 0)
            assert name == "report.md" or state(work / name) == whole[name][0], f"{name} cannot be written again"
        for path in left_behind(work):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(json.dumps(found))


def is_whole_report(page: bytes) -> bool:
    return page.endswith((b"version 0\n", b"version 1\n")) and page.startswith(b"# Tandem report")


def round_s(folder: Path) -> float:
    start = time.perf_counter()
    for write in WRITERS.values():
        write(folder, 0)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
