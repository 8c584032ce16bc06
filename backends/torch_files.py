"""What a file of torch.save shows without PyTorch, whose import takes seconds: whether it is one, and whole."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from shared_specs import WeightsError
from shared_specs.files import check_regular

LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""How files begin that torch.save wrote before they were zip files (torch/serialization.py, MAGIC_NUMBER)."""

ZIP = b"PK\x03\x04"

OTHERS = {
    b"\x89HDF": "it is HDF5",
    b"\x93NUMPY": "it is an array of NumPy",
    b"\x1f\x8b": "it is compressed by gzip; unpack it first",
    b"version https://git-lfs": "it is a pointer of Git LFS; fetch the file itself with git lfs pull",
    b"<": "it is a web page or XML; download the file itself",
}
"""What is often found under the name of a checkpoint, by its first bytes."""

SAFETENSORS = slice(8, 10)
"""Where a safetensors file begins its JSON, after the length of it."""


def look(path: Path) -> bool:
    """Refuse, without PyTorch, what cannot be a file of torch.save. What passes may still be damaged within.

    Returns:
        Whether it is a zip file, as torch.save has written them since PyTorch 1.6.

    Raises:
        TandemError: where it is a pipe or a device.
        WeightsError: where the file cannot be read, is none of torch.save's, is cut off, or holds a program.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
        is_zip = start.startswith(ZIP)
        reason = _zip_problem(path) if is_zip else _start_problem(start)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"{path}: cannot be read ({reason}); expected a file of torch.save") from error
    if reason is not None:
        raise not_whole(path, reason)
    return is_zip


def is_checkpoint(path: Path) -> bool:
    """Whether a file is of torch.save, as far as a glance tells."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
        with path.open("rb") as file:
            return file.read(len(LEGACY)) == LEGACY
    except (OSError, zipfile.BadZipFile):
        return False


def not_whole(path: Path, reason: str) -> WeightsError:
    """The error for a file that is none of torch.save's, or is damaged."""
    return WeightsError(f"{path}: is no whole file of torch.save ({reason}); copy it or save the state dict again")


def _start_problem(start: bytes) -> str | None:
    if not start:
        return "it is empty"
    if start.startswith(b"\x80"):  # a pickle: of the old format, or one that the loader refuses
        return None
    known = next((words for first, words in OTHERS.items() if start.lstrip().startswith(first)), None)
    if known is None and start[SAFETENSORS] == b'{"':
        return "it is a safetensors file; give it the suffix .safetensors"
    return known or "it begins like none"


def _zip_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "it is cut off or damaged: its list of contents, at the end, cannot be read"
    if any(name.endswith("/constants.pkl") for name in names):
        return "it is TorchScript, a program; save module.state_dict() of the module"
    return None if any(name.endswith("/data.pkl") for name in names) else "it is a zip file of something else"
