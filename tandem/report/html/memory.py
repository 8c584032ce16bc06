"""Memory: the peak of every cell."""

from __future__ import annotations

from ...units import sized
from ..cells import Names, groups, replicated
from ..findings import Findings
from ..scenarios import memory_bytes
from .bars import Bars, bars, grid
from .left_out import left_out
from .markup import Html, paragraph, section

SAID = (
    "The peak while a cell was built, compiled and run: of the device's memory on a GPU, else of the whole process, "
    "the framework itself included. The median over processes, and the 95% interval of their geometric mean."
)

GIB = Bars("peak memory, GiB", lambda record: _gib(memory_bytes(record)), lambda gib: sized(gib * 2**30), True)


def memory(findings: Findings) -> Html:
    """Bars for each group of cells that are compared, the least on top."""
    names = Names(findings.records)
    figures = [bars(GIB, cells, names) for cells in replicated(groups(findings.records))]
    return section("memory", "Memory", paragraph(SAID), left_out(findings), grid(figures)) if any(figures) else Html("")


def _gib(value: float | None) -> float | None:
    return value / 2**30 if value else None
