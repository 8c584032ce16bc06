"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable


def counted(value: float, unit: str = "") -> str:
    """A count with an SI prefix: `counted(31_044_106)` is "31.0 M", `counted(2.1e9, "FLOP")` "2.10 GFLOP"."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{_three(value / size)} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def sized(count_bytes: float) -> str:
    """A number of bytes with a binary prefix: "4.00 MiB"."""
    for prefix, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count_bytes >= 0.9995 * size:
            return f"{_three(count_bytes / size)} {prefix}"
    return f"{count_bytes:.0f} B"


def floors(distance: float) -> str:
    """A distance in noise floors: "0.93", "12.4", "3.0e+06", "inf"."""
    if distance != distance or distance == float("inf"):
        return "inf"
    return f"{distance:.2g}" if distance >= 1000 else _three(distance)


def share(value: float) -> str:
    """A part of what is allowed, two digits: "0.34", "1.2", "0.0042", "8.0e+11", "inf"."""
    return "inf" if value != value or value == float("inf") else f"{value:.2g}" if value < 1000 else f"{value:.1e}"


NOTHING = "—"
"""In place of a distance where a probe had nothing to compare."""


def is_idle(probe: str, quantities: Iterable[str]) -> bool:
    """Whether a probe had nothing of its own: without norm state, `statistics` only finds that no parameter moved."""
    return probe == "statistics" and not any(".running_" in quantity for quantity in quantities)


def milliseconds(seconds: float) -> str:
    """A time in milliseconds with four digits: "26.67", "1195"."""
    value = 1e3 * seconds
    decimals = 3 if value < 9.9995 else 2 if value < 99.995 else 1 if value < 999.95 else 0
    return f"{value:.{decimals}f}"


def seconds(value: float) -> str:
    """A time in seconds with three digits: "2.74 s"."""
    return f"{_three(value)} s"


def _three(value: float) -> str:
    """Three digits, without an exponent below 1000."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"
