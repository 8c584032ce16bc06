"""The references of the gate, shared by the jobs of a cluster through files of a folder that all of them see."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared_specs.files import write_atomically

from . import provenance
from .cell import Cell
from .gate import TIME_LIMIT_S, References, key_of
from .reference import Reference

LOOK_EVERY_S = 0.5
"""Between two looks for a reference that another job computes."""


class StoredReferences(References):
    """References that the jobs of one commit share by files; each is computed where there is no file yet.

    Of jobs that need one at the same time the first computes it, and the others wait for its file. Where the first one
    ends without it, or takes longer than a reference may, each of the others computes it for itself, as all do where
    the folder has no locks.
    """

    def __init__(self, folder: Path, wait_s: float = TIME_LIMIT_S):
        super().__init__()
        self.folder, self.wait_s = folder, wait_s

    def get(self, cell: Cell) -> Reference:
        """As `References.get` does, from a file where there is one."""
        key = key_of(cell)
        if key in self._known:
            return super().get(cell)
        path = self.folder / f"{_digest(key)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(path.with_suffix(".lock")) as is_first:
            stored = _read(path) if is_first else self._awaited(path)
            if stored is not None:
                self._known[key] = stored
                return stored
            reference = super().get(cell)
            write_atomically(path, json.dumps(reference.to_json()).encode())
            return reference

    def _awaited(self, path: Path) -> Reference | None:
        """What another job writes; None where it has ended, or takes too long."""
        end = time.monotonic() + self.wait_s
        while time.monotonic() < end:
            with _claimed(path.with_suffix(".lock")) as has_ended:
                if (stored := _read(path)) is not None or has_ended:
                    return stored
            time.sleep(LOOK_EVERY_S)
        return None


@contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Whether nobody else has this lock, which is then ours; the system takes it from a process that ends.

    Some network folders have no locks. There nobody waits for anybody.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(descriptor)


def _read(path: Path) -> Reference | None:
    try:
        return Reference.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # there is none, or none of ours: it is computed again


def _digest(key: tuple[object, ...]) -> str:
    """A name for a reference: of the cell's key and of the code, whose changes since the commit count too."""
    code = provenance.commit() or provenance.sources_digest()
    return hashlib.sha256(f"{key!r}{code}".encode()).hexdigest()[:16]
