"""The main path of a traced U-Net: levels on the way down, levels on the way up, and what stands in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.trace import Event, Trace

from .differences import ACTIVATIONS, NORMS, POOLS, UPS, name_of
from .gates import ungated
from .joins import ADJUSTMENTS
from .unsaid import NO_WORD, advice, leading_to, unsaid

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
        before_up: calls at the end of the level below that are no unit of its block, and lead up.
        up: what leads to it from the level below.
        after_up: the calls between up-sampling and merge.
        join: the concatenation or sum.
        calls: those of the block.
    """

    part: str
    level: int
    down: Event | None = None
    before_up: list[Event] = field(default_factory=list)
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
    path = main_path(trace)
    found = _sections(trace, path, images_are_level=False)
    if found[-1].level == -1 and _is_strided(path[0]):
        # As in pix2pix: the first convolution leads down already, and nothing but the images has the full resolution.
        found = _sections(trace, path, images_are_level=True)
    _check_parameters_serve_once(trace)
    last = found[-1]
    if last.level < 0:
        assert last.up is not None
        raise NotInferred(
            f"{_what(last.up)} enlarges what is at level 0 already, where a U-Net ends",
            "return what it reads, and enlarge that outside of the module",
        )
    if last.level > 0:
        depth = max(section.level for section in found)
        raise NotInferred(f"it ends at level {last.level} of {depth + 1}, where a U-Net comes back to level 0")
    return found


def _sections(trace: Trace, path: Sequence[Event], images_are_level: bool) -> list[Section]:
    """The levels; the images are one of their own where the first convolution leads down from them."""
    found = [Section("encoder", 0)]
    for event, following in zip(path, [*path[1:], None], strict=True):
        here, is_decoder = found[-1], found[-1].part == "decoder"
        awaits_join = is_decoder and here.join is None
        leads_down = here.calls or (images_are_level and event is path[0])
        if unsaid(event):
            what = f"{_what(event)} in {here} has {unsaid(event)}, for which a spec has no word"
            sizes = ", or give --input-shape of sizes that divide" if "ceil_mode" in unsaid(event) else ""
            raise NotInferred(what, NO_WORD + sizes)
        if event.kind in JOINS:
            if not awaits_join:
                branches = "residual" if event.kind == "add" else "nested"
                raise NotInferred(f"{_what(event)} within {here}: {BRANCHES[branches]}", branches=branches)
            here.after_up, here.calls, here.join = here.calls, [], event
        elif awaits_join and event.kind in ADJUSTMENTS and following is not None and following.kind in JOINS:
            continue  # of the merge
        elif event.kind in UPS:
            found.append(Section("decoder", here.level - 1, up=event))
        elif event.kind in POOLS or (_is_strided(event) and leads_down):
            if is_decoder:
                raise NotInferred(f"{_what(event)} in the decoder")
            calls = [event] if event.kind == "conv" else []
            found.append(Section("encoder", here.level + 1, down=event, calls=calls))
        elif event.kind in STEPS:
            here.calls.append(event)
        else:
            raise _unknown(trace, event, f" in {here}")
    return found


def _is_strided(event: Event) -> bool:
    return event.kind == "conv" and max(event.settings["stride"]) > 1


def _what(event: Event) -> str:
    return f"{name_of(event)} at {event.owner or 'the top'}"


def _unknown(trace: Trace, event: Event, where: str) -> NotInferred:
    """A call that no spec has a word for, and what to do about it."""
    return NotInferred(f"{_what(event)}{where}, for which a spec has no word", advice(trace, event))


def main_path(trace: Trace) -> Sequence[Event]:
    """From the images to the logits, at each merge by way of the map that most calls led to: the upsampled one."""
    path: list[Event] = []
    number = trace.outputs[0]
    while number != 0:
        event = trace.producers[number]
        path.append(event)
        if event.kind in JOINS:
            number = max(event.inputs, key=lambda source: (_calls_before(trace, ungated(trace, source)), source))
        elif len(set(event.inputs)) == 1:
            number = event.inputs[0]
        elif event.kind == "multiply":
            what = f"{_what(event)} reads {len(event.inputs)} maps, as gates do; a plain U-Net has none"
            raise NotInferred(what, branches="gated")
        else:
            raise _unknown(trace, event, "")
    return path[::-1]


def _calls_before(trace: Trace, number: int) -> int:
    """How many calls a map depends on, its own included. A skip that is resized at the last moment has few."""
    return len(leading_to(trace, number))


def _check_parameters_serve_once(trace: Trace) -> None:
    """Recurrent blocks, and one PReLU for all places, use their parameters again."""
    served: dict[str, Event] = {}
    for event in leading_to(trace, trace.outputs[0]):
        for key in event.parameters.values():
            if key in served:
                what = f"{_what(event)} uses {key} again, where each layer of a spec has its own"
                raise NotInferred(what, "no spec says it either: give each place a module of its own")
            served[key] = event
