"""What a call computes that no spec can say, though a spec has a word for its kind of layer."""

from __future__ import annotations

from backends.trace import Event, Trace

from .differences import ACTIVATIONS, NORMS, POOLS, UPS, name_of, words
from .joins import ADJUSTMENTS

SAID = ("conv", "dropout", "cat", "add", "multiply", *ACTIVATIONS, *NORMS, *POOLS, *UPS, *ADJUSTMENTS)
"""Kinds of calls that some spec has."""


def unsaid(event: Event) -> str:
    """What it has, in words, for instance "4 groups"; "" where a spec can say all of it."""
    settings, kind = event.settings, event.kind
    if settings.get("groups", 1) != 1 and kind in ("conv", "transposed_conv"):
        return f"{settings['groups']} groups"
    if kind in ("transposed_conv", "max_pool") and max(settings["dilation"]) > 1:
        return f"a dilation of {words(settings['dilation'])}"
    if kind in POOLS and settings["rounding"] == "ceil":
        return "sizes rounded up (ceil_mode)"
    if kind == "average_pool" and any(settings["padding"]):
        return f"a padding of {words(settings['padding'])}"
    if kind in NORMS and kind != "instance_norm" and not settings["affine"]:
        return "no scale and shift"
    if kind in NORMS and settings.get("running_statistics", kind == "batch_norm") != (kind == "batch_norm"):
        return "running statistics" if kind == "instance_norm" else "no running statistics"
    return f"a {settings['computed'][0]} that is computed from other tensors" if "computed" in settings else ""


def unsayable(trace: Trace) -> str:
    """The first call on the way to the logits that no spec can say, whatever its branches are, in words; "" for none.

    Args:
        trace: simplified, as calls that do nothing are in no spec.
    """
    served: dict[str, Event] = {}
    for event in leading_to(trace, trace.outputs[0]):
        if event.kind not in SAID:
            return f"{name_of(event)} at {event.owner or 'the top'}, for which a spec has no word"
        if unsaid(event):
            return f"{event} has {unsaid(event)}, for which a spec has no word"
        weight = event.parameters.get("weight")
        if weight in served and event.kind in ("conv", "transposed_conv"):
            return f"{event} runs more than once with the same weights, where each layer of a spec has its own"
        if weight is not None:
            served[weight] = event
    return ""


def leading_to(trace: Trace, number: int) -> list[Event]:
    """Every call that a map depends on, in the order of execution."""
    reached, waiting = set[int](), [number]
    while waiting:
        producer = trace.producers.get(waiting.pop())
        if producer is not None and producer.output not in reached:
            reached.add(producer.output)
            waiting += producer.inputs
    return [event for event in trace.events if event.output in reached]
