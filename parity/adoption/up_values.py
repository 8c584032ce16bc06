"""The up-samplings of a traced U-Net as tables of a spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.trace import Event, Trace

from .differences import words
from .joins import Join
from .path import STEPS, NotInferred, Section
from .spec_values import Values, kinds, short, table_of


@dataclass(frozen=True)
class UpTables:
    """What leads up to each level of the decoder.

    Attributes:
        sections: the decoder's levels.
        widths: by part, the channels at the end of each level.
        joins: of each level; None where it has no merge.
    """

    trace: Trace
    sections: Sequence[Section]
    widths: Mapping[str, Mapping[int, int]]
    joins: Mapping[int, Join | None]

    def table(self, section: Section) -> Values:
        """The `up` table of one level. Raises NotInferred."""
        event = section.up
        assert event is not None
        values: Values = {"kind": event.kind}
        if event.kind == "transposed_conv":
            keys = ("kernel", "stride", "padding", "output_padding", "bias")
            values |= {key: short(event.settings[key]) for key in keys}
            values["width"] = self.width_word([(s, s.up) for s in self.sections], section)
        else:
            values["scale"] = self.scale(section, event)
            if event.kind == "linear":
                values["align_corners"] = event.settings["align_corners"]
        for key, calls_of in (("before", lambda s: s.before_up), ("after", lambda s: s.after_up)):
            if unit := self.unit(section, calls_of):
                values[key] = unit
        return values

    def unit(self, section: Section, calls_of: Callable[[Section], Sequence[Event]]) -> Values | None:
        """The unit before or after up-sampling, without its dropout, which no spec has there; None where none is."""
        calls = [event for event in calls_of(section) if event.kind != "dropout"]
        steps = [STEPS[event.kind] for event in calls]
        if not calls:
            return None
        if len(set(steps)) != len(steps):
            raise NotInferred(
                f"{', '.join(kinds(calls))} about the up-sampling of {section}, where a spec has one unit"
            )
        tables = {STEPS[event.kind]: table_of(event) for event in calls}
        conv = tables.pop("conv", {"kernel": 1, "padding": 0, "padding_mode": "zeros", "bias": False})
        places = [(s, next((e for e in calls_of(s) if e.kind == "conv"), None)) for s in self.sections]
        return {
            **{key: conv[key] for key in ("kernel", "padding", "padding_mode", "bias")},
            "width": self.width_word(places, section) if "conv" in steps else "same",
            "order": steps,
            "norm": tables.get("norm", {"kind": "none"}),
            "activation": tables.get("activation", {"kind": "identity"}),
        }

    def scale(self, section: Section, event: Event) -> Any:
        """A factor, or "skip" where the size was computed and is the skip's."""
        if event.settings["scale"] is not None:
            return short(event.settings["scale"])
        before, after = (self.trace.shapes[number][2:] for number in (event.inputs[0], event.output))
        join = self.joins[section.level]
        if join is not None and not any(join.differences):
            return "skip"
        if any(new % old for new, old in zip(after, before, strict=True)):
            raise NotInferred(f"{section} is resized from {words(before)} to {words(after)}, which is no whole factor")
        return short(tuple(new // old for new, old in zip(after, before, strict=True)))

    def width_word(self, places: Sequence[tuple[Section, Event | None]], section: Section) -> str:
        """What the channels about up-sampling are called: the word that holds at the most levels, this one included."""
        held: dict[int, list[str]] = {}
        for s, event in places:
            if event is not None:
                into, out = event.settings["in_channels"], event.settings["out_channels"]
                named = {
                    "half": into / 2,
                    "same": into,
                    "skip": self.widths["encoder"][s.level],
                    "decoder": self.widths["decoder"][s.level],
                }
                held[s.level] = [word for word, channels in named.items() if channels == out]
        here = held[section.level]
        if not here:
            raise NotInferred(f"the channels about the up-sampling of {section} are not half, same, skip or decoder")
        counts = Counter(word for words in held.values() for word in words)
        return max(here, key=lambda word: counts[word])
