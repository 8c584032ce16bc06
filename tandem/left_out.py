"""What backends cannot do, in words: in every table and on every page it stands as such, and is no failure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from benchmarks.records import Record

NOT_COMPARED, UNSUPPORTED = "not compared", "unsupported"
"""In the place of a figure."""


class LeftOut(Protocol):
    """A model that took no part in a probe: `parity.NotCompared`, or the same from a file."""

    @property
    def model(self) -> str: ...

    @property
    def probe(self) -> str: ...

    @property
    def reason(self) -> str: ...


def not_compared(left_out: Iterable[LeftOut], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each model and reason: "onnxruntime was not compared in gradients: it has inference only".

    Args:
        pairs: those that were compared; of a model that is in none of them, no probe is named.
    """
    compared = {name for pair in pairs for name in pair}
    probes: dict[tuple[str, str], list[str]] = {}
    for each in left_out:
        probes.setdefault((each.model, each.reason), []).append(each.probe)
    return [
        f"{model} was not compared{_in(of) if model in compared else ''}: it {shortened(reason)}"
        for (model, reason), of in probes.items()
    ]


def _in(probes: Iterable[str]) -> str:
    return f" in {', '.join(probes)}"


def takes_no_part(left_out: Iterable[LeftOut], probe: str, pair: tuple[str, str]) -> bool:
    """Whether one of a pair was not compared in a probe."""
    return any(each.probe == probe and each.model in pair for each in left_out)


def unsupported(records: Iterable[Record]) -> list[str]:
    """One sentence for each backend and what it lacks: "onnxruntime has no phase 'train_step' (inference only)"."""
    return list(dict.fromkeys(f"{r.cell.backend} {r.message}" for r in records if r.status == UNSUPPORTED))


def processes(records: Iterable[Record]) -> int:
    """How many of the records are of a process: for what is unsupported, none was started."""
    return sum(record.status != UNSUPPORTED for record in records)


def shortened(reason: str) -> str:
    """Without what to take instead, which belongs to an error."""
    return reason.partition(";")[0]
