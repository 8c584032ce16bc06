"""Energy: joules of the whole GPU for one image, where its counter was read."""

from __future__ import annotations

from benchmarks.records import Record

from ..cells import Names, groups, replicated
from ..findings import Findings
from ..scenarios import positive
from .bars import Bars, bars, grid
from .left_out import left_out
from .markup import Html, paragraph, section

SAID = (
    "Joules of the whole GPU for one image of a step, by its own counter, idle power included. "
    "The median over processes, and the 95% interval of their geometric mean."
)


def joules(record: Record) -> float | None:
    return positive(record.energy_per_image_j)


JOULES = Bars("joules an image", joules, lambda value: f"{value:.3g} J", ascending=True)


def energy(findings: Findings) -> Html:
    """Bars for each group of cells that have a figure; "" where none has."""
    names = Names(findings.records)
    figures = [bars(JOULES, cells, names) for cells in replicated(groups(findings.records))]
    return section("energy", "Energy", paragraph(SAID), left_out(findings), grid(figures)) if any(figures) else Html("")
