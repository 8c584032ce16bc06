"""Dropouts that no spec has a place for: they are told and left out, as what is random is not compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from backends.trace import Event, Trace
from shared_specs import UNetSpec
from shared_specs.checkpoints import listed

from .differences import words
from .found import WHOLE_CHANNELS, Match
from .matching import match


def match_without(spec: UNetSpec, trace: Trace, is_inferred: bool) -> tuple[Match, tuple[str, ...]]:
    """As `match`, without the dropouts that no spec can say, and what was left out, in words.

    Args:
        spec: what the module is to be.
        trace: of the module.
        is_inferred: whether the spec has been inferred, and so has every dropout that a spec can say.
    """
    found = match(spec, trace)
    loose = placeless(found, is_inferred)
    if not loose:
        return found, ()
    return match(spec, without(trace, {event.output for event in loose})), _told(loose)


def placeless(found: Match, is_inferred: bool) -> list[Event]:
    """Those that are off in evaluation mode and that no spec can say.

    A spec has a dropout in every unit of a level or in none, and never one of whole channels. One that stands in every
    unit of a block is a difference, as the spec that was given could have said it.
    """
    has_some = any(layer.kind == "dropout" for layer in found.spec.layers)
    extra = {event.output for _, event in found.extra_dropouts}
    off = [e for e in found.trace.events if e.kind == "dropout" and not e.settings["training"]]
    sayable = set() if is_inferred else _in_every_unit(found)
    return [e for e in off if (e.output in extra or not has_some) and e.output not in sayable]


def _in_every_unit(found: Match) -> set[int]:
    """The maps of additional dropouts, one after each unit of a block."""
    blocks = {layer.name: layer.name.partition(".block.")[0] for layer in found.spec.layers if ".block." in layer.name}
    units = Counter(blocks[name] for name in blocks if name.endswith(".conv") and ".shortcut." not in name)
    ordinary = [(at, event) for at, event in found.extra_dropouts if not event.settings["whole_channels"]]
    counts = Counter(blocks.get(at, "") for at, _ in ordinary)
    return {event.output for at, event in ordinary if at in blocks and counts[blocks[at]] == units[blocks[at]]}


def without(trace: Trace, outputs: Collection[int]) -> Trace:
    """The calls that make these maps do nothing."""
    events = (replace(event, kind="identity") if event.output in outputs else event for event in trace.events)
    return replace(trace, events=tuple(events))


def _told(dropouts: Sequence[Event]) -> tuple[str, ...]:
    """One line for each rate and kind."""
    places: dict[tuple[str, str], list[str]] = {}
    for event in dropouts:
        of_channels = WHOLE_CHANNELS if event.settings["whole_channels"] else ""
        places.setdefault((words(event.settings["rate"]), of_channels), []).append(str(event))
    return tuple(
        f"without the dropout of rate {rate}{of_channels} at {listed(where)}: "
        + ("a spec has none" if of_channels else "a spec has one in every unit of a level or in none")
        for (rate, of_channels), where in places.items()
    )
