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


def unsayable(trace: Trace) -> tuple[str, str]:
    """The first call on the way to the logits that no spec can say, whatever its branches are.

    Args:
        trace: simplified, as calls that do nothing are in no spec.

    Returns:
        In words what it is, and what to do about it; "" and "" where there is none.
    """
    served: dict[str, Event] = {}
    for event in leading_to(trace, trace.outputs[0]):
        if event.kind not in SAID:
            what = f"{name_of(event)} at {event.owner or 'the top'}, for which a spec has no word"
            return what, advice(trace, event)
        if unsaid(event):
            return f"{event} has {unsaid(event)}, for which a spec has no word", NO_WORD
        weight = event.parameters.get("weight")
        if weight in served and event.kind in ("conv", "transposed_conv"):
            what = f"{event} runs more than once with the same weights, where each layer of a spec has its own"
            return what, "give each of them its own weights"
        if weight is not None:
            served[weight] = event
    return "", ""


REPLACE = "no spec says it either: replace {} by what a spec has"
NO_WORD = REPLACE.format("it")


def advice(trace: Trace, event: Event) -> str:
    """What to do about a call that no spec has a word for."""
    name = name_of(event)
    if event.output in trace.outputs:
        return f"return the logits, and take their {name} outside of the module"
    before = leading_to(trace, event.output)
    if not any(call.parameters for call in before) and all(reader in before for reader in trace.readers[0]):
        return f"prepare the images outside of the module, where {name} is no part of the network"
    return REPLACE.format(name)


def leading_to(trace: Trace, number: int) -> list[Event]:
    """Every call that a map depends on, in the order of execution."""
    reached, waiting = set[int](), [number]
    while waiting:
        producer = trace.producers.get(waiting.pop())
        if producer is not None and producer.output not in reached:
            reached.add(producer.output)
            waiting += producer.inputs
    return [event for event in trace.events if event.output in reached]
