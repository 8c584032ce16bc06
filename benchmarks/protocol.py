"""How parent and worker talk: JSON lines, questions on stdin and answers on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from backends.processes import describe, die_with_parent
from shared_specs import TandemError

__all__ = ["Answer", "Unsupported", "claim_stdout", "describe", "die_with_parent", "say", "serve"]

Answer = dict[str, Any]


class Unsupported(TandemError):
    """What was asked for is nothing that the backend can do; the message is what it lacks, as a clause."""


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
        except Unsupported as lacking:
            say(answers, {"status": "unsupported", "message": str(lacking)})
            return
        except Exception as error:
            say(answers, describe(error))
            return
        say(answers, {"status": "ok"} | answer)
        if command == "finish":
            return
