"""Plots: plotly figures as JSON in the page, drawn by page.js in the colours of the present theme."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from shared_specs.errors import one_line, printable

from .markup import Html, as_json, element, join

HEIGHT_PX = 360

LARGEST = 306.0
"""Of the decimal exponents of an axis, so that its ticks are numbers."""

COLOURS = {
    "pytorch": "var(--pytorch)",
    "flax_nnx": "var(--flax-nnx)",
    "numpy_reference": "var(--numpy-reference)",
    "handwritten_pytorch": "var(--handwritten-pytorch)",
    "peer_monai_basic_unet": "var(--series-5)",
    "peer_plain_conv_unet": "var(--series-6)",
}
"""One for each backend, in every figure; style.css says what they are in each theme.

A colour in a trace or a layout is a variable of style.css: `var(--accent)`, `var(--ink)`, `var(--rule)`, `var(--good)`,
`var(--bad)`; page.js puts in its value.
"""

OTHERS = ("var(--series-7)", "var(--series-8)")
"""For backends from outside."""

SYMBOLS = {"pytorch": "circle", "flax_nnx": "diamond", "numpy_reference": "square", "handwritten_pytorch": "cross"}
"""So that no two backends are told apart by colour alone."""

DASHES = {"tuned": "solid", "default": "dash"}


class Template(str):
    """A hovertemplate or another text in plotly's own markup, with no text from a file in it."""


def colour(backend: str) -> str:
    return COLOURS.get(backend) or OTHERS[zlib.crc32(backend.encode(errors="replace")) % len(OTHERS)]


def symbol(backend: str) -> str:
    return SYMBOLS.get(backend, "triangle-up")


def dash(tuning: str) -> str:
    """Of lines: solid where tuned."""
    return DASHES.get(tuning, "dot")


def faded(colour: str, percent: int) -> str:
    """A colour of `COLOURS` with this opacity; page.js reads it."""
    return f"{colour}/{percent}"


def fill(backend: str, tuning: str) -> str:
    """Of bars and points: full where tuned, pale where not; an outline in the full colour belongs around it."""
    full = colour(backend)
    return full if tuning == "tuned" else faded(full, 25 if tuning == "default" else 55)


def log_axis(title: str, values: Iterable[float], shown: Callable[[float], str] = "{:g}".format) -> dict[str, Any]:
    """A logarithmic axis over these values, with round ticks."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)] or [0.0]
    margin = max(0.05 * (max(logs) - min(logs)), 0.04)
    low, high = max(min(logs) - margin, -LARGEST), min(max(logs) + margin, LARGEST)
    ticks = _ticks(low, high)
    return {
        "type": "log",
        "title": {"text": title},
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [shown(tick) for tick in ticks],
    }


def _ticks(low: float, high: float) -> list[float]:
    """Between two powers of ten: even steps in half a decade, 1, 2 and 5 of a few decades, each one of many."""
    if high - low < 0.5:
        span = 10**high - 10**low
        step = next(step for step in _rounds(math.log10(span) - 1, math.log10(span)) if span / step <= 8)
        return [round(number * step, 12) for number in range(math.ceil(10**low / step), int(10**high / step) + 1)]
    return _rounds(low, high, (1, 2, 5) if high - low < 3.5 else (1,))


def _rounds(low: float, high: float, steps: Sequence[int] = (1, 2, 5)) -> list[float]:
    numbers = [step * 10.0**decade for decade in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [number for number in numbers if 10**low <= number <= 10**high]


def figure(
    traces: Sequence[Mapping[str, Any]],
    layout: Mapping[str, Any],
    name: str,
    description: str,
    *more: object,
    least_width_px: int | None = None,
) -> Html:
    """A plotly figure with its caption.

    Args:
        traces, layout: as plotly has them. Every text in them is shown as it is, but for what is a `Template`.
        name: what it shows, its title.
        description: the same in words, for who cannot see it: what the axes are and what is to be seen.
        more: elements that follow within the figure, such as a table of the same values.
        least_width_px: a plot that would be illegible below scrolls in its own box on a narrow screen.
    """
    height = int(layout.get("height", HEIGHT_PX))
    data = as_json({"data": _plain(traces), "layout": _plain({**layout, "height": height})})
    caption = element("figcaption", element("strong", name), " ", element("span", description))
    size = f"height:{height}px" + (f";min-width:{least_width_px}px" if least_width_px else "")
    plot = element("div", class_="plot", role="img", aria_label=f"{name}. {description}", style=size)
    script = Html(f'<script type="application/json" class="plot-data">{data}</script>')
    drawing = join([plot, script])
    if least_width_px:
        drawing = element("div", drawing, class_="scrolls", tabindex="0", role="region", aria_label=name)
    return element("figure", join([caption, drawing, *more]))


def _plain(value: Any) -> Any:
    """Texts so that plotly, which reads a kind of HTML in them, shows them as they are."""
    match value:
        case Template():
            return str(value)
        case str():
            shown = one_line(printable(value))
            return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
