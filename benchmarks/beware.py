"""What to beware of beside an answer: threads that differ between backends, and a GPU that was slowed down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from . import threads
from .records import Record


def remarks(comparisons: Iterable[Sequence[Record]]) -> list[str]:
    """The sentences of several comparisons, each once."""
    every = list(comparisons)
    said = [sentence for records in every if (sentence := slowed_down(records)) is not None]
    return [*threads.differences(every), *dict.fromkeys(said)]


def slowed_down(records: Sequence[Record]) -> str | None:
    """One sentence where NVML gave a reason for slowing down in a window, and for whom; None where it gave none.

    A power cap is the lot of many a GPU under load. It is told too, as it need not hit all alike.
    """
    processes = Counter(record.cell.backend for record in records if record.windows)
    slowed: Counter[str] = Counter()
    reasons: dict[str, dict[str, None]] = {}
    for record in records:
        if own := reasons_of(record):
            slowed[record.cell.backend] += 1
            reasons.setdefault(record.cell.backend, {}).update(dict.fromkeys(own))
    if not slowed:
        return None
    told = [
        f"{backend} in {count} of {processes[backend]} processes ({', '.join(reasons[backend])})"
        for backend, count in slowed.items()
    ]
    return f"The GPU was slowed down while it was timed: {'; '.join(told)}."


def reasons_of(record: Record) -> list[str]:
    """Those of all windows of a process, each once."""
    found = [reason for window in record.windows if window.gpu for reason in window.gpu.throttle_reasons or ()]
    return list(dict.fromkeys(found))
