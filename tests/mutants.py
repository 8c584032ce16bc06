"""Which tests a mutant is run against: all of its own module's that reach it, and of the others those that are quick.

mutmut would run all of them, hundreds for what every network is made of, and in no order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

STATS = Path("mutmut-stats.json")
"""What mutmut found in the folder in which it runs the tests: how long each took."""

MOST_SECONDS = 1.0
"""That the tests of other modules take together."""

SECONDS_A_TEST = 0.004
"""What pytest takes for each, however quick it is."""


def chosen(mutant: str, tests: Sequence[str], seconds: dict[str, float]) -> list[str]:
    """The tests of a mutant such as `shared_specs.sizes.x_sizes_of__mutmut_1`, in the order in which to run them."""
    own = f"/test_{mutant.split('.')[1]}.py::"
    ranked = sorted(tests, key=lambda test: (own not in test, seconds.get(test, 0.0), test))
    together = 0.0
    for number, test in enumerate(ranked):
        together += 0 if own in test else seconds.get(test, 0.0) + SECONDS_A_TEST
        if together > MOST_SECONDS:
            return ranked[:number]
    return ranked


def durations() -> dict[str, float]:
    """Of each test, in seconds."""
    return json.loads(STATS.read_text(encoding="utf-8"))["duration_by_test"]
