"""The command line as a user meets it: what was typed, the exit code, and what came out on each stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import backends
from backends import Backend, Capabilities
from backends.numpy_reference.model import NumPyModel, NumPyReference
from shared_specs import Recipe
from tandem.cli import app
from tandem.documents import model_of

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs `tandem` with these arguments in this process; anything but a clean exit fails the test."""

    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="tandem")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code in (0, 1):
            check_document(list(map(str, arguments)), result)
        return result

    return invoke


def check_document(arguments: Sequence[str], result: Result) -> None:
    """Where JSON was written, it is what its model says, with no key more."""
    if "--json" not in arguments or arguments[0] == "bench":  # that of bench is written by pytest-benchmark
        return
    path = arguments[list(arguments).index("--json") + 1]
    text = result.stdout if path == "-" else Path(path).read_text(encoding="utf-8")
    values = json.loads(text)
    assert values["command"].partition("_")[0] == arguments[0]
    again = model_of(values["command"]).model_validate(values)
    assert again.model_dump_json(indent=1, by_alias=True) + "\n" == text


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
    capabilities = Capabilities(precisions=("float64", "float32"), tunings=("default",))

    def __init__(self, model: type[NumPyModel] = NumPyModel):
        self.model = model

    def build(self, spec, execution=None, recipe=None):
        return self.model(spec, execution, recipe or Recipe())


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type[NumPyModel]], None]]:
    """Registers a backend `twin`, whose models are of a class of the test's own, and leaves nothing of it behind."""
    get, names = backends.get, backends.names

    def register(model: type[NumPyModel] = NumPyModel) -> None:
        backend: Backend = Twin(model)
        monkeypatch.setattr(backends, "get", lambda name: backend if name == "twin" else get(name))
        monkeypatch.setattr(backends, "names", lambda: [*names(), "twin"])
        monkeypatch.setattr(backends, "available", lambda: ["numpy_reference", "twin"])
        monkeypatch.setattr(backends, "default", lambda: ["numpy_reference", "twin"])

    return register
