"""The main path of a traced U-Net: levels on the way down, levels on the way up, and what stands in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.trace import Event, Trace

from .differences import ACTIVATIONS, NORMS, POOLS, UPS, name_of
from .joins import ADJUSTMENTS
from .unsaid import REPLACE, advice, unsaid

STEPS = {"conv": "conv", "dropout": "dropout"} | dict.fromkeys(NORMS, "norm") | dict.fromkeys(ACTIVATIONS, "activation")
"""The step of a unit that a kind of event is."""

JOINS = ("cat", "add")

BRANCHES = {
    "residual": "a residual block, which is not plain",
    "nested": "dense or nested, which is not plain",
}
"""What a join within a level makes of a network."""


class NotInferred(Exception):
    """What stands in the way of a spec, in words.

    Attributes:
        advice: what to change in the module, where no spec can say what it does.
        branches: "residual", "gated" or "nested", which specs can say, but which is not inferred; else "".
    """

    def __init__(self, reason: str, advice: str = "", branches: str = ""):
        super().__init__(reason)
        self.advice, self.branches = advice, branches


@dataclass
class Section:
    """One level of one part.

    Attributes:
        down: what leads to it from the level above: a pool, or a convolution with a stride.
        up: what leads to it from the level below.
        after_up: the calls between up-sampling and merge.
        join: the concatenation or sum.
        calls: those of the block.
    """

    part: str
    level: int
    down: Event | None = None
    up: Event | None = None
    after_up: list[Event] = field(default_factory=list)
    join: Event | None = None
    calls: list[Event] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.part} level {self.level}"


def sections(trace: Trace) -> list[Section]:
    """The levels in order of execution, the deepest in the middle.

    Raises:
        NotInferred: at the first call that a plain encoder-decoder has not.
    """
    found = [Section("encoder", 0)]
    path = main_path(trace)
    for event, following in zip(path, [*path[1:], None], strict=True):
        here, is_decoder = found[-1], found[-1].part == "decoder"
        awaits_join = is_decoder and here.join is None
        if unsaid(event):
            what = f"{_what(event)} in {here} has {unsaid(event)}, for which a spec has no word"
            raise NotInferred(what, REPLACE.format("it"))
        if event.kind in JOINS:
            if not awaits_join:
                branches = "residual" if event.kind == "add" else "nested"
                raise NotInferred(f"{_what(event)} within {here}: {BRANCHES[branches]}", branches=branches)
            here.after_up, here.calls, here.join = here.calls, [], event
        elif awaits_join and event.kind in ADJUSTMENTS and following is not None and following.kind in JOINS:
            continue  # of the merge
        elif event.kind in UPS:
            found.append(Section("decoder", here.level - 1, up=event))
        elif event.kind in POOLS or (event.kind == "conv" and max(event.settings["stride"]) > 1 and here.calls):
            if is_decoder:
                raise NotInferred(f"{_what(event)} in the decoder")
            calls = [event] if event.kind == "conv" else []
            found.append(Section("encoder", here.level + 1, down=event, calls=calls))
        elif event.kind in STEPS:
            here.calls.append(event)
        else:
            raise _unknown(trace, event, f" in {here}")
    if found[-1].level != 0:
        depth = max(section.level for section in found)
        raise NotInferred(f"it ends at level {found[-1].level} of {depth + 1}, where a U-Net comes back to level 0")
    return found


def _what(event: Event) -> str:
    return f"{name_of(event)} at {event.owner or 'the top'}"


def _unknown(trace: Trace, event: Event, where: str) -> NotInferred:
    """A call that no spec has a word for, and what to do about it."""
    return NotInferred(f"{_what(event)}{where}, for which a spec has no word", advice(trace, event))


def main_path(trace: Trace) -> Sequence[Event]:
    """From the images to the logits, at each merge by way of the map that was made last, which is the upsampled one."""
    path: list[Event] = []
    number = trace.outputs[0]
    while number != 0:
        event = trace.producers[number]
        path.append(event)
        if event.kind in JOINS:
            number = max(event.inputs, key=lambda source: _made(trace, source))
        elif len(set(event.inputs)) == 1:
            number = event.inputs[0]
        elif event.kind == "multiply":
            what = f"{_what(event)} reads {len(event.inputs)} maps, as gates do; a plain U-Net has none"
            raise NotInferred(what, branches="gated")
        else:
            raise _unknown(trace, event, "")
    return path[::-1]


def _made(trace: Trace, number: int) -> int:
    """When a map was made, crops and pads aside, as skips are often cropped last."""
    while number in trace.producers and trace.producers[number].kind in ("crop", "pad"):
        number = trace.producers[number].inputs[0]
    return number
