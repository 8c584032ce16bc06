"""The plot of docs/parity.md: a panel for each precision, a row for each probe, distances on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from docs.cases import BINS, INFINITE, NOTHING

if TYPE_CHECKING:
    from docs.distances import Cloud

WIDTH, LEFT, RIGHT, ROW, HEAD, FOOT = 860, 110, 20, 26, 34, 30
FIRST, LAST, TICK = -4, 16, 4
"""Decades that the axis shows, and those between two ticks; what lies beyond stands at its ends, as 0 and ∞."""

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #57606a } .head { font-weight: 600 } .middle { text-anchor: middle }
.end { text-anchor: end } .grid { stroke: #8c959f; stroke-opacity: .25 } .limit { stroke: #8250df; stroke-width: 2 }
.sound { fill: #0969da } .fault { fill: #d1570a; fill-opacity: .55 } .of-limit { fill: #8250df }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } .sound { fill: #4493f8 } .fault { fill: #f0883e }
.limit { stroke: #ab7df8 } .of-limit { fill: #ab7df8 } }
"""


def plot(clouds: Sequence[Cloud]) -> str:
    """An SVG, legible on light and on dark: bars count sound quantities (log scale), dots are planted faults."""
    parts, top = list(legend()), 40
    for precision, panel in groupby(clouds, key=lambda cloud: cloud.precision):
        rows = list(panel)
        parts += axis(precision, rows[0].limit, top, len(rows))
        for number, cloud in enumerate(rows):
            parts += one_row(cloud, top + HEAD + (number + 1) * ROW)
        top += HEAD + len(rows) * ROW + FOOT
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def across(exponent: float) -> float:
    """Where a power of ten lies; there is one place more at each end."""
    inside = min(max(exponent, FIRST - 1), LAST + 1)
    return round(LEFT + (inside - FIRST + 1) / (LAST - FIRST + 2) * (WIDTH - LEFT - RIGHT), 1)


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def legend() -> Iterator[str]:
    yield f'<rect class="sound" x="{LEFT}" y="12" width="12" height="12"/>'
    yield text(LEFT + 18, 22, "quantities of sound builds, their number on a logarithmic scale")
    yield f'<circle class="fault" cx="{LEFT + 420}" cy="18" r="4"/>'
    yield text(LEFT + 430, 22, "planted faults, the quantity that is named")


def axis(precision: str, limit: float, top: float, rows: int) -> Iterator[str]:
    bottom, at = top + HEAD + rows * ROW, across(math.log10(limit))
    yield text(LEFT, top + 18, f"distance in noise floors, {precision}", "head")
    for exponent in [FIRST - 1, *range(FIRST, LAST + 1, TICK), LAST + 1]:
        x = across(exponent)
        words = "0" if exponent < FIRST else "∞" if exponent > LAST else f"1e{exponent}" if exponent else "1"
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{top + HEAD}" y2="{bottom}"/>'
        yield text(x, bottom + 15, words, "middle")
    yield f'<line class="limit" x1="{at}" x2="{at}" y1="{top + HEAD - 6}" y2="{bottom}"/>'
    yield text(at + 5, top + HEAD - 1, f"limit {limit:g}", "of-limit")


def one_row(cloud: Cloud, base: float) -> Iterator[str]:
    yield text(LEFT - 10, base - 6, cloud.probe, "end")
    most, width = max(cloud.bins.values(), default=1), across(1 / BINS) - across(0)
    for key, count in sorted(cloud.bins.items()):
        x = across({NOTHING: FIRST - 1, INFINITE: LAST + 1}.get(key, key / BINS))
        height = round((ROW - 8) * (0.15 + 0.85 * math.log(count + 1) / math.log(most + 1)), 1)
        yield f'<rect class="sound" x="{x}" y="{base - height:g}" width="{width:.1f}" height="{height}"/>'
    yield from dots(cloud.faults, base)


def dots(faults: Iterable[float], base: float) -> Iterator[str]:
    """Spread over the height of the row, so that those at one place show."""
    for number, distance in enumerate(sorted(faults)):
        x = across(math.log10(distance) if math.isfinite(distance) else LAST + 1)
        yield f'<circle class="fault" cx="{x}" cy="{base - 4 - 5 * (number % 4):g}" r="3"/>'
