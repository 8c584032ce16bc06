"""A look at a pickle before it is opened: whether a small file would make its reader compute or allocate without end.

PyTorch's loader for weights only runs no code of a file. It does make what a file describes, and a few bytes can
describe a tuple that holds another twice, which holds another twice, and so on: to hash it takes for ever.
"""

from __future__ import annotations

import codecs
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

MOST_TUPLES = 1_000
"""Within one tuple, each counted as often as it is met on the way through. In a state dict there are a handful."""

FIRST_PICKLES = 5
"""The old format is a row of pickles: magic number, protocol, system, state dict and names of storages."""

ADVICE = ", which no state dict does; save module.state_dict() alone"

MARK = object()


def problem_of(path: Path, is_zip: bool) -> str | None:
    """Why a file of torch.save is not to be opened, in words that follow its name; None where nothing speaks against.

    What is no pickle, or none whole, is left to the loader to refuse.
    """
    if not is_zip:
        with path.open("rb") as file:
            return next(filter(None, map(_problem, [file] * FIRST_PICKLES)), None)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("/data.pkl"):
                with archive.open(name) as file:
                    if found := _problem(file):
                        return found
    return None


def _problem(file: IO[bytes]) -> str | None:
    names: set[str] = set()
    try:
        for operation, argument, tuples in _steps(file):
            if tuples > MOST_TUPLES:
                return f"holds a tuple of more than {MOST_TUPLES} tuples{ADVICE}"
            if operation == "GLOBAL" and argument.endswith(" bytearray"):
                return f"holds a bytearray of any size{ADVICE}"
            if isinstance(argument, str):  # however long: a codec is found by "hex" and by "---------------------hex"
                names.add(argument)
    except Exception:  # it is no pickle, or none whole: pickletools tells so in errors of many kinds
        return None
    if "_codecs encode" in names and any(map(_makes_bytes_of_bytes, names)):  # again and again, each time more
        return f"encodes what is encoded{ADVICE}"
    return None


def _makes_bytes_of_bytes(name: str) -> bool:
    try:
        return not codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False


def _steps(file: IO[bytes]) -> Iterator[tuple[str, Any, int]]:
    """Each operation with its argument, and how many tuples lie in the one that it makes.

    On the stack and in the memo stands, in place of each value, how many tuples a way through it meets.
    """
    stack: list[Any] = []
    memo: dict[Any, int] = {}

    def pop_to_mark() -> list[int]:
        place = len(stack) - 1 - stack[::-1].index(MARK)
        within = stack[place + 1 :]
        del stack[place:]
        return within

    for operation, argument, _ in pickletools.genops(file):
        name, tuples = operation.name, 0
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in LENGTHS:
            count = LENGTHS[name]
            within = pop_to_mark() if count is None else [stack.pop() for _ in range(count)]
            tuples = 1 + sum(within)
            stack.append(tuples)
        else:
            before = [kind for kind in operation.stack_before if kind is not pickletools.stackslice]
            if pickletools.markobject in before:
                pop_to_mark()
                before.remove(pickletools.markobject)
            del stack[len(stack) - len(before) :]
            stack += [MARK if kind is pickletools.markobject else 0 for kind in operation.stack_after]
        yield name, argument, tuples


LENGTHS = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}
