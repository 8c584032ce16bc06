"""`tandem bench`: run the pytest-benchmark suites with the cells asked for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import benchmarks
from backends.contract import PHASES, PRECISIONS
from benchmarks import contestants
from benchmarks.cell import Cell
from benchmarks.plan import check_supported, default_cells
from benchmarks.record_files import check_folder
from shared_specs import TandemError
from shared_specs.files import write_atomically

from .. import selections
from ..console import Output, say_error

FOLDER = Path(benchmarks.__file__).parent

SUITES = ("test_forward.py", "test_backward.py", "test_train_step.py", "test_handwritten.py")
"""Those that time cells, in the order of the phases."""

EXIT_CODES = {0: 0, 1: 1, 2: 130, 4: 2, 5: 2}
"""pytest's exit codes to ours: all cells timed, one was not, interrupted, bad input twice; others are a bug."""


@dataclass(frozen=True)
class Request:
    """The selectors that `bench` and `compare` share, as typed; None stands for the default of this machine."""

    specs: Sequence[str]
    backends: Sequence[str] | None = None
    phases: Sequence[str] | None = None
    precisions: Sequence[str] | None = None
    tunings: Sequence[str] | None = None
    narrow: int | None = None
    size: str | None = None
    batch: int | None = None
    device: str | None = None
    replicates: int = 3


def run(request: Request, results: str | None = None, resume: bool = False, json_path: str | None = None) -> int:
    """Run the suites in a process of pytest's own; 0 if every cell was timed that can be, 1 if one could not be."""
    output = Output(json_path, request.specs)
    check_cells(cells(request))  # so that bad input is told in our words, before pytest starts
    if results is not None:
        check_folder(Path(results))
    for module in ("pytest", "pytest_benchmark"):
        if find_spec(module) is None:
            raise TandemError(f"bench needs {module}, not installed here; pip install 'tandem[test]'")
    if resume and results is None:
        raise TandemError("--resume goes on with what is in a folder, and none was given; name it with --results")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "benchmarks.json"
        command = pytest_command(request, results, resume)
        if json_path is not None:  # pytest-benchmark says where it has written, which nobody else should look for
            command.append(f"--benchmark-json={written}")
        code = subprocess.run(command, stdout=None if output.for_people else sys.stderr).returncode
        if json_path is not None and written.exists() and written.stat().st_size:
            content = written.read_bytes()
            if json_path == "-":
                sys.stdout.write(content.decode())
            else:
                write_atomically(json_path, content)
    if code not in EXIT_CODES:
        say_error(f"pytest ended with exit code {code}, which is no fault of the input; what it said stands above")
    return EXIT_CODES.get(code, 1)


def cells(request: Request, devices: Sequence[str] | None = None) -> list[Cell]:
    """The cells that the selectors mean; `devices` are those of the machine that times, if that is another one.

    Raises:
        TandemError: for the first selector that means nothing.
    """
    return default_cells(
        specs=selections.expand(request.specs) or None,
        backends=backends_of(request),
        phases=phases_of(request),
        device=request.device,
        batch=request.batch,
        size=selections.size(request.size),
        narrow=request.narrow,
        precisions=precisions_of(request),
        tunings=tunings_of(request),
        devices=devices,
    )


def check_cells(chosen: Sequence[Cell]) -> None:
    """Refuse what none of the backends can do; what one of them cannot is a record that says so.

    The devices that they have here are not asked for: JAX would then take the GPU's memory for itself.

    Raises:
        CellError: where nothing can be timed.
        BackendError: where a backend cannot be loaded.
    """
    check_supported(chosen, lambda name: contestants.get(name).capabilities)


def backends_of(request: Request) -> list[str] | None:
    """The backends to time, None for the default. Raises TandemError."""
    return selections.choose("backend", request.backends, contestants.known())


def phases_of(request: Request) -> list[str] | None:
    """The phases to time, None for all. Raises TandemError."""
    return selections.choose("phase", request.phases, PHASES)


def precisions_of(request: Request) -> list[str]:
    """The precisions to time in. Raises TandemError."""
    return selections.choose("precision", request.precisions, PRECISIONS) or ["float32"]


def tunings_of(request: Request) -> list[str]:
    """The tunings to time. Raises TandemError where they were asked for and none is named."""
    chosen = selections.split(request.tunings)
    if request.tunings and not chosen:
        raise TandemError("got no tuning, expected default, tuned, or another that a backend has")
    return chosen or ["default"]


def pytest_command(request: Request, results: str | None = None, resume: bool = False) -> list[str]:
    """What the user could have typed."""
    suites = [str(FOLDER / name) for name in SUITES]
    command = [sys.executable, "-m", "pytest", "--benchmark-only", *suites, f"--rootdir={FOLDER.parent}"]
    configuration = FOLDER.parent / "pyproject.toml"
    if configuration.exists():
        command += ["-c", str(configuration)]
    named = {
        "--spec": selections.expand(request.specs),
        "--backend": backends_of(request) or [],
        "--phase": phases_of(request) or [],
        "--precision": precisions_of(request) if request.precisions else [],
        "--tuning": selections.split(request.tunings),
        "--narrow": [request.narrow],
        "--size": [request.size],
        "--batch": [request.batch],
        "--device": [request.device],
        "--replicates": [request.replicates],
        "--results": [results],
    }
    command += [f"{option}={value}" for option, values in named.items() for value in values if value is not None]
    return command + (["--resume"] if resume else [])
