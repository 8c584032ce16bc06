"""The command that goes on with a run that was cut off, as a shell takes it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import bench


def program() -> str:
    """How this program was started: `tandem`, or `python -m tandem` from a checkout."""
    script = Path(sys.argv[0])
    return "python -m tandem" if (script.parent.name, script.name) == ("tandem", "__main__.py") else "tandem"


def command_to_go_on(command: str, request: bench.Request, folder: Path, json_path: str | None = None) -> str:
    """The same command, with all the options that were given, and the folder in which the results are."""
    return command_with(command, request, {"--output": folder, "--json": json_path})


def command_with(command: str, request: bench.Request, more: Mapping[str, Any]) -> str:
    """A command with the selectors of a request and more options; a list is an option for each, True one alone."""
    given = {
        "--backends": request.backends,
        "--phase": request.phases,
        "--precision": request.precisions,
        "--tuning": request.tunings,
        "--size": request.size,
        "--batch": request.batch,
        "--narrow": request.narrow,
        "--device": request.device,
        "--replicates": request.replicates if request.replicates != bench.Request.replicates else None,
        **more,
    }
    words = [command, *request.specs]
    for option, values in given.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            if value is True:
                words.append(option)
            elif value is not None:
                words += [option, str(value)]
    return " ".join([program(), *map(shlex.quote, words)])
