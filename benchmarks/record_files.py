"""Records in files: one each, whole or not at all, and read again from files and folders."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared_specs import TandemError
from shared_specs.files import write_atomically
from shared_specs.problems import describe, shorten

from .records import SCHEMA_VERSION, Record


class RecordError(TandemError):
    """A file that holds no record, or one of another version."""


def check_folder(folder: Path) -> None:
    """Fail before anything is measured where `save_record` could not write here; makes nothing. Raises TandemError."""
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise TandemError(f"{folder}: cannot be written; name a writable folder for the results")


STARTED_AT_S = time.time()
"""When this process began: a record that another process has written since then is of a run beside this one."""

_OURS: set[Path] = set()
"""What this process has written, and may measure again."""


def save_record(record: Record, folder: Path, column: str = "") -> Path:
    """Write one record to its own file in a folder, which is made if need be. Raises TandemError.

    It takes the place of what an earlier run measured, and stands beside what a run at the same time measures.

    Args:
        column: goes into the file's name, where records of one cell from several machines or commits are kept.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TandemError(f"{folder}: cannot be made ({error.strerror}); name a writable folder") from error
    with _locked(folder):
        name = record.file_name.removesuffix(".json") + (f"-{column}" if column else "")
        path, number = folder / f"{name}.json", 1
        while path not in _OURS and path.exists() and path.stat().st_mtime > STARTED_AT_S:
            number += 1
            path = folder / f"{name}-{number}.json"
        write_atomically(path, (record.model_dump_json(indent=1) + "\n").encode())
    _OURS.add(path)
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. The system takes the lock from a process that ends; some network folders have none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Read records from files and folders; a file written by --benchmark-json gives all that it holds.

    Raises:
        RecordError: where a file cannot be read, is malformed, or is of another version.
    """
    chosen = [paths] if isinstance(paths, str | Path) else list(paths)
    records: list[Record] = []
    for path in map(Path, chosen):
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            records += _load_file(file)
    return records


def _load_file(path: Path) -> list[Record]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); expected a benchmark record") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: is not JSON; expected a benchmark record, measure it again") from error
    if isinstance(values, dict) and isinstance(values.get("benchmarks"), list):
        extras = [entry.get("extra_info") if isinstance(entry, dict) else None for entry in values["benchmarks"]]
        entries = [extra.get("record") for extra in extras if isinstance(extra, dict)]
        for key in ("not_timed", "resumed"):
            others = values.get(key, [])
            entries += others if isinstance(others, list) else [others]
        return [_parse(entry, path) for entry in entries if entry is not None]
    return [_parse(values, path)]


def _parse(values: Any, path: Path) -> Record:
    if not isinstance(values, dict) or "schema_version" not in values:
        raise RecordError(f"{path}: holds no benchmark record; name files that the benchmarks wrote")
    if values["schema_version"] != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: is of record version {shorten(values['schema_version'])}, expected {SCHEMA_VERSION}; "
            "read it with the release that wrote it, or measure again"
        )
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        raise RecordError(f"{path}: {describe(error, values)}") from error
