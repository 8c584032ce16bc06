"""Writing files whole or not at all."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from .errors import TandemError


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file through a temporary file beside it, so that it is always either the old one or the new one.

    Raises:
        TandemError: where the file cannot be written; nothing is left behind.
    """
    with written_whole(path) as file:
        file.write(content)


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place at the end, and not at all where an exception is raised before.

    Raises:
        TandemError: where the file cannot be written; nothing is left behind.
    """
    path = _target(path)
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # NamedTemporaryFile makes files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """The path of a folder to be made, which takes its place at the end, as `written_whole` does for a file.

    A folder that stood there changes places with the new one, in one step where the system has it; elsewhere it is
    kept in a hidden folder beside it meanwhile. A link stays, and what it leads to is replaced.

    Raises:
        TandemError: where the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    try:
        path = path.resolve() if path.is_symlink() else path
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True
        ) as beside:
            made, old = Path(beside) / "new", Path(beside) / "old"
            yield made
            if exchanged(made, path):
                return
            try:
                if path.exists():
                    path.rename(old)
                made.rename(path)
            except BaseException as error:  # also where the user interrupts between the two
                if old.exists() and not path.exists():
                    old.rename(path)
                # Another process may have made the folder meanwhile.
                if not isinstance(error, OSError) or not exchanged(made, path):
                    raise
    except OSError as error:
        raise _unwritable(path, error) from error


AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""The current folder, and the flag, of renameat2(2), which Linux has since 3.15 and Python has no name for."""


def exchanged(one: Path, other: Path) -> bool:
    """Whether two paths have changed places in one step, so that at no moment either is missing. Not everywhere."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _unwritable(path: Path, error: OSError) -> TandemError:
    reason = error.strerror or str(error)
    return TandemError(f"{path}: cannot be written ({reason}); name a path in a writable folder")


def _target(path: str | Path) -> Path:
    """The file that a path stands for: a link stays, and what it leads to is written.

    Raises:
        TandemError: where there is something other than a file, such as a folder or /dev/null, never to be replaced.
    """
    try:
        target = Path(path).resolve()
        taken = target.exists() and not target.is_file()
    except (OSError, RuntimeError) as error:  # links in a circle, or a folder that may not be entered
        raise TandemError(
            f"{path}: cannot be written ({error}); name a file in a writable folder that exists"
        ) from error
    if taken:
        raise TandemError(
            f"{path}: cannot be written (it is no regular file); name a file in a writable folder that exists"
        )
    return target if Path(path).is_symlink() else Path(path)


def check_regular(path: Path) -> None:
    """Refuse to read a pipe or a device, which may never end. A link counts as what it leads to. Raises TandemError."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise TandemError(f"{path}: cannot be read (it is no regular file); copy it into one first")


def check_writable(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Fail before long work, not after it, where `write_atomically` could not write this file.

    Raises:
        TandemError: where the folder is missing or not writable, or the path is something other than a file, or one
            of `inputs`, which would be lost.
    """
    path = _target(path)
    if path.exists() and any(Path(given).exists() and path.samefile(given) for given in inputs):
        raise TandemError(f"{path}: is read by this command and would be overwritten; name another file to write")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise TandemError(f"{path}: cannot be written; name a file in a writable folder that exists")
