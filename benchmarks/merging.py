"""Which records may stand in one folder: those of one commit and one kind of machine, or columns of their own.

Records of a cluster come from machines that nobody has chosen one by one, and from jobs that may have waited while the
sources were changed. Times of two kinds of machine beside each other say nothing of backends, so that they are refused,
unless the user has asked for columns: then each kind has files and rows of its own, and no verdict goes across them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Literal, get_args

from shared_specs import TandemError

from .machine import Machine, differences
from .provenance import CHANGES, last_change, names_code
from .records import Record

Column = Literal["machine", "commit"]

COLUMNS: tuple[Column, ...] = get_args(Column)

SHORT = 12
"""Digits of a commit in a file's name."""

NOWHERE = Machine(cpu="", logical_cores=0, usable_cores=0, memory_bytes=0, system="", python="")
"""Of a record whose job never began, and of which no other job has told where it would have."""

NEVER = datetime.max.replace(tzinfo=UTC)


def refusal(record: Record, held: Iterable[Record], columns: Collection[str] = ()) -> str | None:
    """Why a record may not stand beside those that are held, in a clause that names what differs; None where it may.

    A record of a job that never began is of no machine, and stands beside any.
    """
    if "commit" not in columns and changed_since(record):
        return "was begun before the sources were last changed; commit what is to be timed, or give --columns commit"
    for other in held:
        if "commit" not in columns and record.commit != other.commit:
            return (
                f"is of commit {short(record.commit)}, and what is there is of {short(other.commit)}; take another "
                "--results folder, or give --columns commit for rows of their own"
            )
        if "commit" not in columns and changed_since(other):
            return (
                "is of other code, as what is there was begun before the sources were last changed; commit what is to "
                "be timed, or take another --results folder"
            )
        if "machine" in columns or NOWHERE in (record.machine, other.machine):
            continue
        if apart := differences(other.machine, record.machine):
            return (
                f"is of another machine than what is there ({apart}); name one node type with --slurm constraint=..., "
                "or give --columns machine for rows of their own"
            )
    return None


def check_code(held: Iterable[Record], commit: str | None, columns: Collection[str] = ()) -> None:
    """Refuse, before any job, a folder in which no new record could be merged. Raises TandemError."""
    for record in held:
        if "commit" not in columns and record.commit != commit:
            raise TandemError(
                f"--results holds records of commit {short(record.commit)}, and this is {short(commit)}; name another "
                "folder, or give --columns commit for rows of their own"
            )
        if "commit" not in columns and changed_since(record):
            raise TandemError(
                f"--results holds records of {short(commit)} from before the sources were last changed; commit what "
                "is to be timed, or name another folder"
            )


def changed_since(record: Record) -> bool:
    """Whether a record whose commit does not name the code was of other code than there is now."""
    if names_code(record.commit):
        return False
    return began_at(record) <= last_change()


def of_other_changes(record: Record, commit: str | None) -> bool:
    """Whether a record is of changes that were not committed, and are not those that there are now."""
    return changed_since(record) or (CHANGES in (record.commit or "") and record.commit != commit)


def began_at(record: Record) -> datetime:
    """When a record's job began; later than anything where it never did, or where no place is said of the time."""
    try:
        found = datetime.fromisoformat(record.started_at)
    except ValueError:
        return NEVER
    return found if found.tzinfo is not None else NEVER


def column_of(record: Record, columns: Collection[str]) -> str:
    """What a record's file name says beside the cell, so that no column overwrites another; "" without columns."""
    parts: list[str] = []
    if "machine" in columns:
        parts.append("no-machine" if record.machine == NOWHERE else record.machine.label(record.cell.device))
    parts += [short(record.commit).replace("+", "-").replace(" ", "-")] if "commit" in columns else []
    return "-".join(parts)


def short(commit: str | None) -> str:
    """Some digits of a commit, and whether the sources had been changed since."""
    number, plus, changed = (commit or "").partition("+")
    return (number[:SHORT] or "no known commit") + plus + changed
