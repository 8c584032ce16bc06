"""`tandem doctor`: what each backend can do, found out in processes that may crash or hang."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import backends
from backends.registry import REQUIREMENTS
from tandem import surroundings, trial
from tandem.commands import doctor
from tandem.examination import NOT_TRIED, Examination, ending

from .conftest import Run

SAYS = "import json, os, sys, time\ndef say(**values): print(json.dumps(values), flush=True)\ndone = sys.argv[1:]\n"
KNOWN = (
    'say(versions={"abacus": "1.0"}, devices=["cpu"], tunings=["default"], '
    'planned=[["cpu", "float32"], ["cpu", "float64"], ["cpu", "bfloat16"]])\n'
)


def trying(precision: str, what: str) -> str:
    """Lines that try a precision unless it is done, and do something in its place."""
    here = {"device": "cpu", "precision": precision}
    return f'if "cpu/{precision}" not in done:\n    say(trying={here!r})\n    {what}\n'


def works(precision: str) -> str:
    said = {"device": "cpu", "precision": precision, "works": True, "problem": "", "seconds": 0.1}
    return trying(precision, f"say(tried={said!r})")


class Scripted(Examination):
    """Runs a script in place of a backend's trial."""

    def __init__(self, script: str, time_limit_s: float = 30.0):
        super().__init__("numpy_reference", time.monotonic() + time_limit_s)
        self.script, self.starts = SAYS + script, 0

    def command(self, done: Sequence[str]) -> list[str]:
        self.starts += 1
        return [sys.executable, "-c", self.script, *done]


def outcomes(examination: Examination) -> dict[str, bool]:
    return {trial["precision"]: trial["works"] for trial in examination.trials}


def test_what_works_is_told() -> None:
    examination = Scripted(KNOWN + works("float32") + works("float64"))
    examination.run()
    assert examination.works and examination.problem == "" and examination.starts == 1
    assert outcomes(examination) == {"float32": True, "float64": True}
    assert (examination.versions, examination.devices) == ({"abacus": "1.0"}, ["cpu"])


def test_after_a_crash_the_rest_is_tried_in_another_process() -> None:
    crash = trying("bfloat16", 'sys.stderr.write("no such instruction"); sys.stderr.flush(); os.abort()')
    examination = Scripted(KNOWN + works("float32") + crash + works("float64"))
    examination.run()
    assert outcomes(examination) == {"float32": True, "bfloat16": False, "float64": True}
    assert examination.trials[1]["problem"] == "crashed: the process was killed by SIGABRT: no such instruction"
    assert examination.starts == 2


def test_a_crash_before_any_trial_is_the_backends_problem() -> None:
    examination = Scripted('sys.stderr.write("libabacus.so: not found"); sys.exit(3)')
    examination.run()
    assert not examination.works and examination.starts == 1
    assert examination.problem == "crashed: the process ended with exit code 3: libabacus.so: not found"


def test_what_hangs_is_stopped_and_what_was_found_before_is_kept() -> None:
    examination = Scripted(KNOWN + works("float32") + trying("float64", "time.sleep(60)"), time_limit_s=1.0)
    start = time.monotonic()
    examination.run()
    assert time.monotonic() - start < 20
    assert outcomes(examination) == {"float32": True, "float64": False, "bfloat16": False}
    assert "no answer within" in examination.trials[1]["problem"]
    assert examination.trials[2]["problem"] == NOT_TRIED
    cells = [str(cell) for column in doctor.backends_table([examination]).columns[2:6] for cell in column.cells]
    assert cells == ["fails", "works", "—", "untried"]


def test_what_is_not_installed_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    examination = Examination("pytorch", time.monotonic() + 10)
    monkeypatch.setattr(examination, "command", lambda done: pytest.fail("started"))
    examination.run()
    assert "pip install 'tandem[torch]'" in examination.problem and not examination.works


def test_a_plugin_that_fails_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed, or nobody would know of it."""
    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    absent, broken = Examination("pytorch", 0.0), Examination("a_plugin", 0.0)
    broken.problem = "backend a_plugin cannot be loaded (RuntimeError: no driver); install it again"
    versions = list(doctor.backends_table([absent, broken]).columns[-1].cells)
    assert versions == ["not installed", "cannot be loaded"]
    assert doctor.problems([broken]) == [f"a_plugin: {broken.problem}"]


@pytest.mark.parametrize(("code", "words"), [(-11, "killed by SIGSEGV"), (1, "exit code 1")])
def test_ends_of_processes_are_put_in_words(code: int, words: str) -> None:
    assert words in ending(code)


def test_a_trial_builds_and_runs_every_precision() -> None:
    answers = io.StringIO()
    trial.main("numpy_reference", [], answers)
    lines = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert lines[0]["versions"] and lines[0]["devices"] == ["cpu"]
    assert lines[1] == {"trying": {"device": "cpu", "precision": "float64"}}
    assert lines[2]["tried"]["works"] is True
    assert len(lines) == 3


def test_a_trial_says_what_is_wrong(twin: Callable[..., None]) -> None:
    from backends.numpy_reference.model import NumPyModel

    class Broken(NumPyModel):
        def forward(self, images):
            return super().forward(images) * float("nan")

    twin(Broken)
    answers = io.StringIO()
    trial.main("twin", [], answers)
    tried = [values["tried"] for line in answers.getvalue().splitlines() if "tried" in (values := json.loads(line))]
    assert [found["problem"] for found in tried] == ["gave logits that are not finite"] * 2


def test_a_trial_of_no_backend_says_so() -> None:
    answers = io.StringIO()
    trial.main("abacus", [], answers)
    assert "no backend is named 'abacus'" in json.loads(answers.getvalue())["problem"]


@pytest.mark.needs_backends("pytorch")
def test_two_backends_that_work_are_enough(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backends, "names", lambda: ["numpy_reference", "pytorch"])
    result = run("doctor", "--json", tmp_path / "doctor.json")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["pytorch", "cpu", "works", "works", "—", "works", "torch"] in [row[:7] for row in rows]
    assert "2 backends work here: numpy_reference, pytorch." in result.stdout
    content = json.loads((tmp_path / "doctor.json").read_text())
    assert content["healthy"] is True
    assert {trial["precision"] for trial in content["backends"]["pytorch"]["trials"]} == {
        "float32",
        "float64",
        "bfloat16",
    }


def test_one_backend_is_too_few(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REQUIREMENTS, "pytorch", (("a_module_that_is_not_here",), "torch"))
    monkeypatch.setattr(backends, "names", lambda: ["numpy_reference", "pytorch"])
    result = run("doctor")
    assert result.exit_code == 1
    assert "Fewer than 2 backends work here (numpy_reference)" in result.stdout
    assert "pytorch: backend pytorch needs a_module_that_is_not_here" in result.stdout


def test_extras_name_what_is_missing_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"jax": "0.9.2", "flax": "0.12.6", "optax": "0.2.5", "orbax-checkpoint": "0.12"}
    monkeypatch.setattr(surroundings, "installed_version", installed.get)
    found = {extra["name"]: extra for extra in surroundings.extras(has_gpu=False)}
    assert "cuda" not in found
    assert not found["flax"]["complete"] and not found["torch"]["complete"]
    assert doctor.what_is_missing(found["flax"]) == "jax 0.9.2 where >=0.10 is needed"
    assert doctor.what_is_missing(found["torch"]) == "torch"
    assert found["flax"]["command"].endswith("[flax]'")


def test_a_gpu_asks_for_the_plugin_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "installed_version", lambda name: None)
    (cuda,) = [extra for extra in surroundings.extras(has_gpu=True) if extra["name"] == "cuda"]
    assert [package["name"] for package in cuda["packages"]] == ["jax-cuda13-plugin", "nvidia-ml-py"]


def test_an_installation_without_a_checkout_reads_its_metadata(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings, "ROOT", tmp_path)
    monkeypatch.setattr(
        surroundings,
        "requires",
        lambda name: ["numpy>=2.0", 'torch>=2.11; extra == "torch"', "flax>=0.12; extra == 'flax'"],
    )
    assert surroundings.requirements() == {
        "torch": ['torch>=2.11; extra == "torch"'],
        "flax": ["flax>=0.12; extra == 'flax'"],
    }
    assert surroundings.install_command("torch").endswith("-m pip install 'tandem[torch]'")
    assert [extra["packages"][0]["needed"] for extra in surroundings.extras(False)] == [">=2.11", ">=0.12"]


@pytest.mark.parametrize(
    ("installed", "needed", "enough"),
    [
        ("2.13.0+cpu", ">=2.11", True),
        ("2.9", ">=2.11", False),
        ("0.12.6", ">=0.12.6", True),
        ("0.12", ">=0.12.0", True),
        ("1.0rc1", ">=1.0", True),
        ("5", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(installed: str, needed: str, enough: bool) -> None:
    assert surroundings.is_enough(installed, needed) is enough


def test_folders_that_are_not_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "none"))
    found = {folder["name"]: folder["found"] for folder in surroundings.folders(has_gpu=True)}
    assert found["JAX compilation"] == str(tmp_path)
    assert found["torch.compile"] is None and found["results"] is None
    assert "CUDA kernels" in found


def test_after_it_was_stopped_no_process_is_started() -> None:
    """Ctrl-C must not leave one behind, in a session of its own."""
    examination = Scripted(KNOWN + trying("float32", "time.sleep(60)"))
    thread = threading.Thread(target=examination.run)
    thread.start()
    while examination.starts == 0 or examination._process is None:
        time.sleep(0.01)
    time.sleep(0.5)  # so that it has said what it tries, after which there would be more to try
    examination.stop()
    thread.join(30)
    assert not thread.is_alive() and examination.starts == 1
