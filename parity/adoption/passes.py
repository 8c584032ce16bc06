"""What tells that the traced pass does not show all of a module: its other outputs, and its pass in training mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backends import trace as tracing
from backends.trace import Trace, TraceError

from .differences import Difference
from .found import Match
from .unsaid import leading_to


def deeper_output(trace: Trace) -> str:
    """Which output comes from a deeper level than the first one, in words; "" where none does.

    A nested network often returns its logits last, after those of the shallower networks within it.
    """
    alike = trace.shapes[trace.outputs[0]]
    smallest = [
        min((math.prod(trace.shapes[call.output][2:]) for call in leading_to(trace, number)), default=math.inf)
        if trace.shapes[number] == alike
        else math.inf  # such as a label for the whole image
        for number in trace.outputs
    ]
    number = smallest.index(min(smallest)) + 1
    what = f"output {number} of the {len(smallest)} that it returns comes from deeper levels than the first"
    return what if number > 1 else ""


def only_in_evaluation(found: Match, module: Any, images: np.ndarray) -> list[Difference]:
    """The layers of which a pass in training mode makes no call, for instance a softmax for predictions."""
    try:
        training = tracing.trace(module, images, training=True)
    except TraceError:
        return []
    calls = {(event.owner, event.call) for event in training.events}
    return [
        Difference(name, str(event), "in training mode", "left out", "kept")
        for name, event in found.events.items()
        if (event.owner, event.call) not in calls
    ]
