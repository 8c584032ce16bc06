"""Where a record comes from: commit and command; and which records a run of the same code need not repeat."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shared_specs import TandemError

from .cell import Cell
from .machine import this_machine
from .process import ROOT
from .record_files import load_records
from .records import FINAL, Record

CHANGES = "+changes"
"""Follows a commit from which the tracked files differ, and is followed by a digest of the sources, as in
"+changes.1a2b3c4d". Without the digest nobody can name the code: the sources were written to while it ran.
"""

PACKAGES = ("backends", "benchmarks", "parity", "shared_specs")
"""What decides on a time or on its verdict."""


def finished(results: Path) -> dict[tuple[Cell, int], Record]:
    """What a folder already holds of this machine and commit, and need not be measured again. Raises RecordError."""
    return _current(_held(results))


def to_go_on_with(results: Path, cells: Collection[Cell]) -> dict[tuple[Cell, int], Record]:
    """What is finished in a folder, where these cells can be measured without replacing what other code measured.

    Raises:
        TandemError: where it holds other records of these cells that have ended.
    """
    found = _held(results)
    known = _current(found)
    lost = [r for r in found if r.status in FINAL and r.cell in cells and (r.cell, r.replicate) not in known]
    if lost:
        commits = ", ".join(sorted({(r.commit or "unknown")[:12] for r in lost}))
        raise TandemError(
            f"{results}: would lose records of these cells ({len(lost)} of commit {commits}), as code, versions or "
            "machine are others here; name another folder with --results, or measure all again without --resume"
        )
    return known


def _held(results: Path) -> list[Record]:
    return load_records(results) if results.is_dir() else []


def _current(found: Iterable[Record]) -> dict[tuple[Cell, int], Record]:
    code, changed = commit(), last_change()
    return {
        (record.cell, record.replicate): record
        for record in found
        if record.status in FINAL and record.machine == this_machine() and is_of_this_code(record, code, changed)
    }


def is_of_this_code(record: Record, code: str | None, changed: datetime) -> bool:
    """Whether the same network, code and frameworks would be timed."""
    try:
        same = record.spec_fingerprint == record.cell.network.fingerprint
    except TandemError:  # its spec is a file that is gone
        return False
    return same and is_current(record.commit, record.versions, record.started_at, code, changed)


def is_current(
    recorded: str | None, versions: Mapping[str, str], started_at: str, code: str | None, changed: datetime
) -> bool:
    """Whether what was measured at a commit, with these versions, at this time, was measured with what is here now.

    What does not name its code is believed where no source was written since.

    Args:
        recorded: the commit of then. code: that of now.
        changed: when a source was last written.
    """
    if recorded != code:
        return False
    public = {name: number.partition("+")[0] for name, number in versions.items()}
    if any((installed(name) or number).partition("+")[0] != number for name, number in public.items()):
        return False
    if names_code(recorded):
        return True
    try:
        return datetime.fromisoformat(started_at) > changed
    except (ValueError, TypeError):  # no date, or one that does not say of which place
        return False


@cache
def installed(distribution: str) -> str | None:
    """The version that is installed now, asked without loading it; None for what is no distribution, such as CUDA."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _sources() -> list[Path]:
    """The source files of this project that decide on a time or on its verdict."""
    return sorted(file for name in PACKAGES for kind in ("py", "toml") for file in (ROOT / name).rglob(f"*.{kind}"))


def last_change() -> datetime:
    """When a source file of this project was last written."""
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in _sources()), UTC)


def sources_digest() -> str:
    """Eight hexadecimal digits of what the source files hold, and of what they are called."""
    found = hashlib.sha256()
    for file in _sources():
        content = file.read_bytes()
        found.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:8]


def names_code(commit: str | None) -> bool:
    """Whether a commit says which code it was: alone, or with the digest of what was changed."""
    return commit is not None and not commit.endswith(CHANGES)


def commit() -> str | None:
    """The commit of this checkout; where tracked files differ from it, with CHANGES and a digest of the sources.

    None where git says none.
    """
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}{CHANGES}.{sources_digest()}" if status.strip() else head


def of_run(at_start: str | None) -> str | None:
    """The commit of a run that began at this one: with CHANGES alone where the checkout has changed meanwhile."""
    return at_start if commit() == at_start else f"{(at_start or '').partition(CHANGES)[0]}{CHANGES}"


def command_line() -> str:
    """The command that was typed, without the folder in which this machine keeps its programs."""
    program = Path(sys.argv[0])
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return " ".join([name, *map(shlex.quote, sys.argv[1:])])
