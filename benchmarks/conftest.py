"""What the suites share: cells by the options, the order A-B-B-A, one worker a test, and the verdicts at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pytest_benchmark.fixture import FixtureAlreadyUsed

from shared_specs import TandemError
from shared_specs.files import write_atomically

from . import beware, contestants, options
from .ceilings import CeilingsOf
from .cell import Cell
from .gate import References
from .levers import levers
from .machine import Machine, differences, this_machine
from .measure import ROUNDS, measure_cell
from .options import Options
from .plan import check_supported, default_cells, interleave
from .provenance import to_go_on_with
from .record_files import check_folder, save_record
from .records import Record
from .verdict import bounds, compare

CELLS = pytest.StashKey[list[Cell]]()
CEILINGS = pytest.StashKey[CeilingsOf]()
REFERENCES = pytest.StashKey[References]()
RECORDS = pytest.StashKey[list[Record]]()
KNOWN = pytest.StashKey[dict[tuple[Cell, int], Record]]()
RESUMED = pytest.StashKey[list[Record]]()
SAVED = pytest.StashKey[list[dict[str, Any]]]()
"""The benchmarks of the runs that --benchmark-compare names."""

HANDWRITTEN = "handwritten_pytorch"


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # the root conftest may have added them already
        options.pytest_addoption(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REFERENCES], config.stash[CEILINGS], config.stash[RECORDS] = References(), CeilingsOf(), []
    config.stash[RESUMED], config.stash[SAVED] = [], []
    if config.getoption("benchmark_only", False):
        _cells(config)  # bad input ends the run here, in one line, before anything is collected


def _cells(config: pytest.Config) -> list[Cell]:
    """The cells that the options ask for, the hand-written module's among them."""
    if CELLS not in config.stash:
        try:
            chosen = options.read(config)
            if chosen.results is not None:
                check_folder(chosen.results)
            config.stash[CELLS] = _chosen_cells(chosen)
            check_supported(config.stash[CELLS])
            config.stash[KNOWN] = {}
            if chosen.results is not None and chosen.resume:
                config.stash[KNOWN] = to_go_on_with(chosen.results, config.stash[CELLS])
        except TandemError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[CELLS]


def _chosen_cells(chosen: Options) -> list[Cell]:
    backends = chosen.backend or contestants.default()
    # The hand-written module has one precision and one tuning: beside others it is not what a reader would compare.
    plain = chosen.precision == ["float32"] and "default" in chosen.tuning
    if chosen.backend is None and plain and contestants.missing(HANDWRITTEN) is None:
        backends = [*backends, HANDWRITTEN]
    cells = default_cells(
        specs=chosen.spec,
        backends=backends,
        phases=chosen.phase,
        device=chosen.device,
        batch=chosen.batch,
        size=chosen.size,
        narrow=chosen.narrow,
        precisions=chosen.precision,
        tunings=chosen.tuning,
    )
    return [cell for cell in cells if chosen.backend or cell.backend != HANDWRITTEN or cell.phase == "train_step"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `cell` and `replicate` runs once a process, for the cells of its module's phase."""
    if "cell" not in metafunc.fixturenames:
        return
    module: Any = metafunc.module
    cells = [
        cell
        for cell in _cells(metafunc.config)
        if cell.phase == module.PHASE and (cell.backend == HANDWRITTEN) == getattr(module, "IS_HANDWRITTEN", False)
    ]
    plan = interleave(cells, options.read(metafunc.config).replicates)
    ids = [f"{cell.spec_label}-{cell.backend}-{cell.tuning}-{cell.precision}-r{replicate}" for cell, replicate in plan]
    metafunc.parametrize(("cell", "replicate"), plan, ids=ids)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests of one comparison in the order A-B-B-A, across modules, and drop what was not selected."""
    if not any("time_cell" in getattr(item, "fixturenames", ()) for item in items):
        return
    chosen = options.read(config)
    _check_the_same_work(items, config.stash[SAVED])
    plan = interleave(_cells(config), chosen.replicates)
    position = {timed: index for index, timed in enumerate(plan)}
    ranked: list[tuple[int, pytest.Item]] = []
    dropped: list[pytest.Item] = []
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        timed: Any = (parameters.get("cell"), parameters.get("replicate"))
        if "time_cell" not in getattr(item, "fixturenames", ()) and not chosen.selects:
            ranked.append((len(plan), item))
        elif timed in position:
            ranked.append((position[timed], item))
        else:
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
    items[:] = [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _check_the_same_work(items: Iterable[pytest.Item], saved: Iterable[Mapping[str, Any]]) -> None:
    """Refuse to set other work beside this run's: pytest-benchmark goes by names, which have no batch and no size.

    Raises:
        UsageError: naming what differs.
    """
    records = {each["fullname"]: each.get("extra_info", {}).get("record") for each in saved}
    for item in items:
        if (values := records.get(item.nodeid)) is None or not hasattr(item, "callspec"):
            continue
        parameters: dict[str, Any] = getattr(item, "callspec").params  # noqa: B009 (not every Item of pytest's has it)
        try:
            apart = _other_work(Record.model_validate(values), parameters["cell"])
        except ValidationError as error:
            raise pytest.UsageError(
                "--benchmark-compare: the saved run has records of another version; measure it again"
            ) from error
        if apart:
            raise pytest.UsageError(f"--benchmark-compare: the saved run did other work ({apart}); give it the same")


def _other_work(saved: Record, cell: Cell) -> str:
    """What a record was timed on and the cell is not, in one line; empty where it is the same work."""
    theirs, ours = (each.model_dump(exclude={"spec"}) for each in (saved.cell, cell))
    apart = [name for name in theirs | ours if theirs.get(name) != ours.get(name)]
    found = [f"{name}: {theirs.get(name)} there and {ours.get(name)} here" for name in apart]
    if saved.spec_fingerprint != cell.network.fingerprint and not found:
        found.append(f"another network of the name {cell.spec_label}")
    return "; ".join(found)


@pytest.fixture
def time_cell(benchmark: Any, request: pytest.FixtureRequest) -> Callable[[Cell, int], None]:
    """Times one cell in a process of its own; fails where there is no comparable time, and says why.

    Skips what the backend cannot do.
    """
    config, chosen = request.config, options.read(request.config)

    def time_one(cell: Cell, replicate: int) -> None:
        benchmark.group = cell.group
        known = config.stash[KNOWN].get((cell, replicate))
        if known is not None:
            config.stash[RECORDS].append(known)
            config.stash[RESUMED].append(known)
            _leave_untimed(benchmark)
            _skip_unsupported(known)
            pytest.skip("already measured; the record is in --results")
        try:
            record = measure_cell(
                cell,
                replicate,
                config.stash[REFERENCES],
                chosen.time_limit_s,
                lambda one_round: benchmark.pedantic(one_round, rounds=ROUNDS),
                config.stash[CEILINGS],
            )
        except KeyboardInterrupt:
            _leave_untimed(benchmark)
            raise
        config.stash[RECORDS].append(record)
        benchmark.extra_info["record"] = record.to_dict()
        unwritten = _save(record, chosen.results)
        if unwritten is not None:
            pytest.fail(unwritten, pytrace=False)
        if record.step_s is None:
            _leave_untimed(benchmark)
            _skip_unsupported(record)
            pytest.fail(record.sentence, pytrace=False)

    return time_one


def _save(record: Record, results: Path | None) -> str | None:
    """Write a record where it shall be written; gives in one line why it cannot be, for instance on a full disk."""
    try:
        if results is not None:
            save_record(record, results)
    except TandemError as error:
        return f"{record.sentence}; the record is in no file: {error}"
    return None


def _skip_unsupported(record: Record) -> None:
    if record.status == "unsupported":
        pytest.skip(f"unsupported: {record.cell.backend} {record.message}")


def _leave_untimed(benchmark: Any) -> None:
    """Tell pytest-benchmark that this test has no figure, which it takes for an oversight otherwise."""
    if benchmark.stats is None:
        benchmark.disabled = True
        with contextlib.suppress(FixtureAlreadyUsed):
            benchmark.pedantic(lambda: None)
        return
    # What was refused in or after its windows has times already: they shall be in no JSON and in no table.
    benchmark.has_error = True
    benchmark.stats.stats.data.clear()


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """What was not timed, or not in this run, is no benchmark to pytest-benchmark, which leaves it out."""
    resumed = config.stash[RESUMED]
    now = [record for record in config.stash[RECORDS] if not any(record is known for known in resumed)]
    output_json["not_timed"] = [record.to_dict() for record in now if record.step_s is None]
    output_json["resumed"] = [record.to_dict() for record in resumed]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the JSON that was asked for also where no cell was timed: pytest-benchmark then writes none."""
    config, hook = session.config, session.config.hook
    path, run = config.getoption("benchmark_json", None), getattr(config, "_benchmarksession", None)
    if path is None or run is None or run.benchmarks or not config.stash[RECORDS]:
        return
    machine_info = run.get_machine_info()
    commit_info = hook.pytest_benchmark_generate_commit_info(config=config)
    about = {"config": config, "benchmarks": [], "machine_info": machine_info, "commit_info": commit_info}
    output_json = hook.pytest_benchmark_generate_json(include_data=True, **about)
    hook.pytest_benchmark_update_json(config=config, benchmarks=[], output_json=output_json)
    write_atomically(path, (json.dumps(output_json, indent=4, default=str) + "\n").encode())


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["tandem"] = this_machine().model_dump(mode="json")


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, benchmarksession: Any, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Times of different machines say nothing of commits."""
    config.stash[SAVED].extend(compared_benchmark.get("benchmarks", []))
    theirs = compared_benchmark.get("machine_info", {}).get("tandem")
    if config.getoption("across_machines"):
        return
    if theirs is None:
        raise pytest.UsageError("--benchmark-compare: the saved run does not say of which machine it is")
    if apart := differences(this_machine(), Machine.model_validate(theirs)):
        raise pytest.UsageError(
            f"--benchmark-compare: the saved run is of another machine ({apart}); give --across-machines to compare"
        )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    comparisons = compare(config.stash[RECORDS])
    if comparisons:
        terminalreporter.section("which is faster")
    for comparison in comparisons:
        terminalreporter.line(f"{comparison.title}")
        terminalreporter.line(f"  {comparison.sentence}")
    for said in beware.remarks(comparison.records for comparison in comparisons):
        terminalreporter.line(said)
    for found in levers(config.stash[RECORDS]):
        terminalreporter.section(f"{found.title} {found.phase}: times relative to {' '.join(found.baseline)}")
        for arm in found.arms:
            name = f"{arm.backend} {arm.tuning}"
            is_baseline = (arm.backend, arm.tuning) == found.baseline
            ratio = "the baseline" if is_baseline else f"{arm.ratio:6.3f}  (95% interval {bounds(arm.low, arm.high)})"
            terminalreporter.line(f"{name:36} {1e3 * arm.median_s:10.2f} ms {ratio}")
