"""Which records may stand in one folder: those of one commit and one kind of machine, or columns of their own.

Records of a cluster come from machines that nobody has chosen one by one, and from jobs that may have waited while the
sources were changed. Times of two kinds of machine beside each other say nothing of backends, so that they are refused,
unless the user has asked for columns: then each kind has files and rows of its own, and no verdict goes across them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Literal, get_args

from shared_specs import TandemError

from .machine import Machine, differences
from .provenance import CHANGES, last_change
from .records import Record

Column = Literal["machine", "commit"]

COLUMNS: tuple[Column, ...] = get_args(Column)

SHORT = 12
"""Digits of a commit in a file's name."""

NOWHERE = Machine(cpu="", logical_cores=0, usable_cores=0, memory_bytes=0, system="", python="")
"""Of a record whose job never began on any machine, and of whose run no other job did."""


def refusal(record: Record, held: Iterable[Record], columns: Collection[str] = ()) -> str | None:
    """Why a record may not stand beside those that are held, in a clause that names what differs; None where it may.

    A record of a job that never began is of no machine, and stands beside any.
    """
    if "commit" not in columns and _changed_since(record):
        return "was begun before the sources were last changed; commit what is to be timed, or give --columns commit"
    for other in held:
        if "commit" not in columns and record.commit != other.commit:
            return (
                f"is of commit {short(record.commit)}, and what is there is of {short(other.commit)}; take another "
                "--results folder, or give --columns commit for rows of their own"
            )
        if "machine" in columns or NOWHERE in (record.machine, other.machine):
            continue
        if apart := differences(other.machine, record.machine):
            return (
                f"is of another machine than what is there ({apart}); name one node type with --slurm constraint=..., "
                "or give --columns machine for rows of their own"
            )
    return None


def check_commit(held: Iterable[Record], commit: str | None, columns: Collection[str] = ()) -> None:
    """Refuse, before any job, a folder in which no new record could be merged. Raises TandemError."""
    for record in held:
        if "commit" not in columns and record.commit != commit:
            raise TandemError(
                f"--results holds records of commit {short(record.commit)}, and this is {short(commit)}; name another "
                "folder, or give --columns commit for rows of their own"
            )


def _changed_since(record: Record) -> bool:
    """Whether a commit with changes, which does not name the code, was of other code than there is now."""
    if record.commit is not None and not record.commit.endswith(CHANGES):
        return False
    try:
        return datetime.fromisoformat(record.started_at) <= last_change()
    except (ValueError, TypeError):  # of a job that never began
        return False


def column_of(record: Record, columns: Collection[str]) -> str:
    """What a record's file name says beside the cell, so that no column overwrites another; "" without columns."""
    parts = [record.machine.label(record.cell.device)] if "machine" in columns else []
    parts += [short(record.commit).replace("+", "-").replace(" ", "-")] if "commit" in columns else []
    return "-".join(parts)


def short(commit: str | None) -> str:
    """Some digits of a commit, and whether the sources had been changed since."""
    number, plus, changed = (commit or "").partition("+")
    return (number[:SHORT] or "no known commit") + plus + changed
