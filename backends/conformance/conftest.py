"""How pytest runs the steps: one backend, in order, each failure in one line, and at the end what is next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

import backends
from backends.contract import PHASES, PRECISIONS, Capabilities, Execution
from shared_specs import TandemError

from . import steps
from .steps import FAILED, LEFT_OUT, NOT_TRIED, PASSED, Outcome, Outcomes
from .subject import Subject

OUTCOMES = pytest.StashKey[Outcomes]()
SUBJECT = pytest.StashKey[Subject]()
CAUSE = pytest.StashKey[str]()

OPTION = "--backend"


def pytest_addoption(parser: pytest.Parser) -> None:
    """For a run that names this folder; `--pyargs` reads it too late, and has the option from Tandem's plugin."""
    with contextlib.suppress(ValueError):  # the benchmarks have one of the same name
        parser.addoption(OPTION, action="append", help="the backend that the conformance suite examines")


def chosen(config: pytest.Config) -> str:
    """The backend that the options name.

    Raises:
        UsageError: where they name none, several, or one that there is not.
    """
    given: Any = config.getoption("backend", None) or []
    named = [name.strip() for each in ([given] if isinstance(given, str) else given) for name in each.split(",")]
    known = ", ".join(backends.names())
    if len(named) != 1 or not named[0]:
        got = f"got {' and '.join(named)}" if named else "got none"
        raise pytest.UsageError(f"{OPTION}: {got}, expected the name of one backend; take one of {known}")
    if named[0] not in backends.names():
        try:
            backends.get(named[0])
        except TandemError as error:
            hint = "a backend is found by the entry point `tandem.backends` of an installed package"
            raise pytest.UsageError(f"{OPTION}: {error}; {hint}") from error
    return named[0]


AXES: dict[str, Callable[[Capabilities], Sequence[str]]] = {
    "tuning": lambda can: [name for name in can.tunings if name != "default"],
    "device": lambda can: can.devices,
    "lacking_phase": lambda can: [name for name in PHASES if can.lacks(phase=name)],
    "lacking_precision": lambda can: [name for name in (*PRECISIONS, "float8") if can.lacks(_first(can, name))],
    "lacking_tuning": lambda can: [name for name in ("tuned", "fastest") if name not in can.tunings],
    "lacking_device": lambda can: [name for name in ("cuda", "cuda:99", "abacus") if name not in can.devices],
}
"""What a step takes as an argument, and runs once for: by what the backend declares."""


def _first(can: Capabilities, precision: str) -> Execution:
    return Execution(device=can.devices[0], precision=precision)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for axis, values in AXES.items():
        if axis in metafunc.fixturenames:
            try:
                can = backends.get(chosen(metafunc.config)).capabilities
                found = values(can) if isinstance(can, Capabilities) else ()
            except Exception:  # of a plugin, or of a wrong name: a step, or the end of the collection, says which
                found = ()
            metafunc.parametrize(axis, found)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if any(is_step(item) for item in items):
        config.stash[SUBJECT] = Subject(chosen(config))
        config.stash[OUTCOMES] = Outcomes()
        items[:] = [item for item in items if not (is_step(item) and item.name.endswith("[NOTSET]"))]  # of no values


def is_step(item: pytest.Item) -> bool:
    return item.path.parent == steps.HERE


def name_of(item: pytest.Item) -> str:
    function, bracket, parameter = item.name.removeprefix("test_").partition("[")
    return f"{function.replace('_', ' ')}{bracket}{parameter}"


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.config.stash[SUBJECT]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    needed = getattr(getattr(item, "function", None), "needs", ())
    if is_step(item) and (cause := item.config.stash[OUTCOMES].blocking(needed)):
        item.stash[CAUSE] = cause
        pytest.skip(f"not tried: {cause} failed first")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What a step raises becomes one line, unless the whole way there is asked for."""
    try:
        return (yield)
    except Exception as error:
        if pyfuncitem.config.getoption("tbstyle") == "long":
            raise
        reason = steps.sentence(error)
    pytest.fail(reason, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_step(item) and (call.when == "call" or not report.passed):
        skipped = NOT_TRIED if CAUSE in item.stash else LEFT_OUT
        status = PASSED if report.passed else FAILED if report.failed else skipped
        why = "" if call.excinfo is None or report.passed else _reason(call.excinfo.value)
        outcome = Outcome(name_of(item), status, why, item.stash.get(CAUSE, ""))
        item.config.stash[OUTCOMES].ended.append(outcome)
    return report


def _reason(error: BaseException) -> str:
    """The exceptions of pytest hold it as `msg`."""
    return str(getattr(error, "msg", None) or steps.sentence(error))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if OUTCOMES in config.stash:
        terminalreporter.section(f"conformance of {config.stash[SUBJECT].name}")
        for line in config.stash[OUTCOMES].summary():
            terminalreporter.line(line)
