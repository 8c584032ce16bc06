"""Two runs of the same cells, at two commits or on two machines: what has become slower, and what faster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks import contestants
from benchmarks.machine import differences
from benchmarks.records import Record
from benchmarks.verdict import Ratio, is_busy, latest, problem, ratio
from shared_specs import TandemError

from .cells import short
from .scenarios import step_s

Became = Literal["failing", "slower", "faster", "timed now", "not decided", "the same", "still failing", "unsupported"]

REGRESSIONS: tuple[Became, ...] = ("slower", "failing")

ORDER: tuple[Became, ...] = get_args(Became)


@dataclass(frozen=True)
class Change:
    """One cell in both runs.

    Attributes:
        before_s, after_s: the times of a step, one of each process.
        ratio: None where one of the two was not timed.
        why: for what is failing, or was.
        is_busy: whether other work kept the machine busy in one of the runs, and may have decided it.
    """

    record: Record
    before_s: tuple[float, ...]
    after_s: tuple[float, ...]
    ratio: Ratio | None
    became: Became
    why: str = ""
    is_busy: bool = False

    @property
    def words(self) -> str:
        """What it became, and why; and whether the machine was busy."""
        said = f"{self.became}: {self.why}" if self.why else self.became
        return f"{said} (machine busy)" if self.is_busy else said

    @property
    def factor(self) -> tuple[float, float, float] | None:
        """The time after divided by the time before, and its interval: above 1 is slower."""
        if self.ratio is None:
            return None
        found = self.ratio
        if found.slower == AFTER:
            return found.ratio, found.low, found.high
        return 1 / found.ratio, 1 / found.high, 1 / found.low if found.low > 0 else float("inf")


@dataclass(frozen=True)
class Runs:
    """Attributes:
    apart: in what the two differ, as a sentence without its full stop.
    changes: worst first.
    only_before, only_after: how many cells one of them alone has.
    """

    apart: str
    changes: tuple[Change, ...]
    only_before: int
    only_after: int

    @property
    def unpaired(self) -> str:
        """The cells that are not compared, as one run alone has them; "" where there are none."""
        if not (self.only_before or self.only_after):
            return ""
        return f"Cells in the earlier run alone: {self.only_before}; in this alone: {self.only_after}"

    @property
    def busy(self) -> str:
        """Where other work may have decided it, as a sentence without its full stop; "" where nothing had."""
        count = sum(change.is_busy for change in self.changes)
        cells = "1 cell is" if count == 1 else f"{count} cells are"
        return f"{cells} not to be relied on, as other work kept a machine busy meanwhile" if count else ""

    @property
    def regressions(self) -> list[Change]:
        return [change for change in self.changes if change.became in REGRESSIONS]

    @property
    def sentence(self) -> str:
        counts = {became: sum(change.became == became for change in self.changes) for became in ORDER}
        said = ", ".join(f"{count} {became}" for became, count in counts.items() if count)
        return f"Of {len(self.changes)} cells that both have: {said}" if self.changes else "They have no cell in common"


BEFORE, AFTER = "before", "after"


def compare_runs(after: Sequence[Record], before: Sequence[Record]) -> Runs:
    """Every cell that both have; the same rules say slower as say faster elsewhere, and everything else is a tie."""
    new, old = _by_cell(after), _by_cell(before)
    changes = [_change(records, old[cell]) for cell, records in new.items() if cell in old]
    changes.sort(key=lambda change: (ORDER.index(change.became), -(change.factor or (1.0,))[0]))
    return Runs(_apart(after, before), tuple(changes), len(old.keys() - new.keys()), len(new.keys() - old.keys()))


def check_one_run(records: Sequence[Record], what: str) -> None:
    """Refuse to compare what is of several runs itself: its times would be mixed. Raises TandemError."""
    commits = sorted({short(record.commit) for record in records})
    apart = f"commits ({', '.join(commits)})" if len(commits) > 1 else ""
    machines = [said for record in records if (said := differences(records[0].machine, record.machine))]
    if machines and not apart:
        apart = f"machines ({machines[0]})"
    if apart:
        raise TandemError(f"{what}: holds records of several {apart}, and two runs are compared; name files of one")


def are_two_runs(one: Sequence[Record], other: Sequence[Record]) -> bool:
    """Whether each is of one machine and commit, not the same in both, and they have cells in common."""
    runs = [{(record.machine.kind, record.commit) for record in records} for records in (one, other)]
    return all(len(run) == 1 for run in runs) and runs[0] != runs[1] and bool(_by_cell(one).keys() & _by_cell(other))


def _by_cell(records: Iterable[Record]) -> dict[tuple[object, ...], list[Record]]:
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        cell = record.cell
        if cell.backend in contestants.NO_OP:
            continue
        what = (record.spec_fingerprint, cell.backend, cell.tuning, cell.phase, cell.recipe, cell.replicas, cell.cores)
        groups.setdefault((*what, cell.batch, cell.size, cell.seed, cell.precision, cell.device), []).append(record)
    return groups


def _change(after: list[Record], before: list[Record]) -> Change:
    after, before = latest(after), latest(before)
    times = [tuple(t for r in records if (t := step_s(r)) is not None) for records in (before, after)]
    old, new = times
    if any(record.status == "unsupported" for record in after):
        return Change(after[0], old, new, None, "unsupported", _why(after))
    if failed := _failed(after):  # one process is enough, however fast the others are
        more = len(failed) / len(after) > len(_failed(before)) / len(before)
        return Change(after[0], old, new, None, "failing" if more else "still failing", _why(after))
    failed_before = f"before: {_why(before)}" if _failed(before) else ""
    if not old or not new:
        return Change(after[0], old, new, None, "timed now" if new else "not decided", failed_before)
    found = ratio(BEFORE, old, AFTER, new)
    if not found.decided:
        return Change(after[0], old, new, found, "not decided", failed_before)
    became: Became = "the same" if found.tie else "faster" if found.faster == AFTER else "slower"
    return Change(after[0], old, new, found, became, failed_before, is_busy([*before, *after]))


def _failed(records: Sequence[Record]) -> list[Record]:
    """The processes that were not timed, and those that had come to NaN or Inf."""
    return [record for record in records if record.status != "ok" or record.finite_at_end is False]


def _why(records: Sequence[Record]) -> str:
    """What the first failure was, and how many processes failed where not all did."""
    failed = _failed(records)
    first = failed[0]
    said = problem(first) if first.status != "ok" else f"{first.cell.backend} had come to NaN or Inf by the end"
    return said if len(failed) == len(records) else f"{said} in {len(failed)} of {len(records)} processes"


def _apart(after: Sequence[Record], before: Sequence[Record]) -> str:
    """Commits, machines and versions of the two, as far as they differ, as a sentence."""
    said = []
    commits = [", ".join(sorted({short(record.commit) for record in records})) for records in (after, before)]
    if commits[0] != commits[1]:
        said.append(f"commit {commits[0]} against {commits[1]}")
    if after and before and (between := differences(before[0].machine, after[0].machine)):
        said.append(f"different machines ({between})")
    versions = [{f"{n} {v}" for r in records for n, v in r.versions.items()} for records in (after, before)]
    if versions[0] != versions[1]:
        new, old = [", ".join(sorted(one - other)) or "none" for one, other in (versions, versions[::-1])]
        said.append(f"versions {new} against {old}")
    return f"They differ in: {'; '.join(said)}" if said else "Both are of the same commit, machine and versions"
