"""How parent and worker talk: JSON lines, questions on stdin and answers on stdout."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from shared_specs import TandemError
from shared_specs.errors import one_line

PR_SET_PDEATHSIG = 1  # prctl(2)

OUT_OF_MEMORY = ("out of memory", "out_of_memory", "resource_exhausted", "can't allocate memory", "unable to allocate")
"""How PyTorch, XLA, PyTorch's CPU allocator and NumPy say it; their exceptions share no type."""

Answer = dict[str, Any]


class Unsupported(TandemError):
    """What was asked for is nothing that the backend can do; the message is what it lacks, as a clause."""


def die_with_parent() -> None:
    """Ask the kernel to kill this process with its parent (Linux). Elsewhere the end of stdin ends a worker."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew
        os._exit(1)


def claim_stdout() -> TextIO:
    """Keep stdout for answers alone: what a library prints, from Python or C, goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def say(answers: TextIO, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def serve(handlers: Mapping[str, Callable[..., Answer]], answers: TextIO) -> None:
    """Answer questions until "finish", the end of stdin, or the first exception, which becomes the last answer."""
    for line in sys.stdin:
        question = json.loads(line)
        command = question.pop("command")
        try:
            answer = handlers[command](**question)
        except Exception as error:
            say(answers, describe(error))
            return
        say(answers, {"status": "ok"} | answer)
        if command == "finish":
            return


def describe(error: Exception) -> Answer:
    """An exception as an answer: the status of the record that it becomes, and one line."""
    text = one_line(str(error))
    is_ours = isinstance(error, TandemError)
    message = text if is_ours else f"{type(error).__name__}: {text}"
    if isinstance(error, Unsupported):
        return {"status": "unsupported", "message": message}
    memory = isinstance(error, MemoryError) or any(words in message.lower() for words in OUT_OF_MEMORY)
    return {"status": "out_of_memory" if memory and not is_ours else "failed", "message": message[:2000]}
