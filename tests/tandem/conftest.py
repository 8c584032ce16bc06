"""The command line as a user meets it: what was typed, the exit code, and what came out on each stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import backends
from backends import Backend
from backends.numpy_reference.model import NumPyModel, NumPyReference
from tandem.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs `tandem` with these arguments in this process; anything but a clean exit fails the test."""

    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="tandem")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Runs `tandem`, asserts that it refuses bad input, and returns the one line that it says."""

    def invoke(*arguments: str | Path) -> str:
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        line = result.stderr.splitlines()[-1]
        assert line.startswith("error: ")
        assert [text for text in result.stderr.splitlines() if not text.startswith(("note: ", "progress: "))] == [line]
        return line

    return invoke


@pytest.fixture
def photograph() -> Callable[[str], Path]:
    """The path of a picture that comes inside scikit-image's wheel; skips where it does not."""

    def path(name: str) -> Path:
        skimage = pytest.importorskip("skimage", reason="scikit-image is not installed; it comes with the extra `test`")
        found = Path(skimage.__file__).parent / "data" / name
        if not found.exists():
            pytest.skip(f"scikit-image's wheel has no {name}")
        return found

    return path


class Twin(NumPyReference):
    """The reference under another name and in any precision, so that a fault can be planted without a framework."""

    name = "twin"
    precisions = ("float64", "float32")

    def __init__(self, model: type[NumPyModel] = NumPyModel):
        self.model = model

    def build(self, spec, execution=None, recipe=None):
        return self.model(spec, execution, recipe)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[NumPyModel]], None]]:
    """Registers a backend `twin`, whose models are of a class of the test's own, and leaves nothing of it behind."""
    get, names = backends.get, backends.names

    def register(model: type[NumPyModel] = NumPyModel) -> None:
        backend: Backend = Twin(model)
        monkeypatch.setattr(backends, "get", lambda name: backend if name == "twin" else get(name))
        monkeypatch.setattr(backends, "names", lambda: [*names(), "twin"])
        monkeypatch.setattr(backends, "available", lambda: ["numpy_reference", "twin"])

    return register
