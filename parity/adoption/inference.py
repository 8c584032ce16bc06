"""Infer a spec from the trace of a plain encoder-decoder U-Net, and say what the trace cannot show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from backends.trace import Event, Trace
from shared_specs import UNetSpec
from shared_specs.problems import describe

from .differences import words
from .joins import Join, join_of
from .merge_values import merge_tables
from .path import STEPS, NotInferred, Section, sections
from .spec_values import (
    Values,
    as_written,
    first_unit,
    kinds,
    place_of_conv,
    short,
    table_of,
    units_of,
    unlike,
    window,
    with_overrides,
    words_of,
)
from .unsaid import unsayable


@dataclass(frozen=True)
class Inference:
    """A spec, or why there is none.

    Attributes:
        reason: what stands in the way, in words, where `spec` is None.
        assumed: what the trace could not show.
        advice, branches: as of `path.NotInferred`.
    """

    spec: UNetSpec | None
    reason: str = ""
    assumed: tuple[str, ...] = ()
    advice: str = ""
    branches: str = ""


def infer(trace: Trace, name: str = "adopted") -> Inference:
    """The spec of a plain encoder-decoder U-Net.

    Args:
        trace: of the module, as the tracer writes it.
        name: of the spec.
    """
    draft = _Draft(as_written(trace))
    try:
        values = draft.values()
    except NotInferred as reason:
        besides, advice = unsayable(draft.trace) if reason.branches else ("", reason.advice)
        told = f"{reason}; besides, {besides}" if besides else str(reason)
        return Inference(None, told, advice=advice, branches=reason.branches)
    about = {"title": f"{trace.module}, as adopted", "source": f"inferred from a traced {trace.module}"}
    values = {"name": name, **about, **values}
    try:
        return Inference(UNetSpec.model_validate(values), assumed=tuple(draft.assumed))
    except ValidationError as error:
        return Inference(None, f"what was found makes no spec: {describe(error, values)}")


@dataclass
class _Block:
    """What a section's block says: the keys of a spec's level."""

    tables: dict[str, Values]
    width: int | None = None
    middle: int | None = None


@dataclass
class _Draft:
    trace: Trace
    assumed: list[str] = field(default_factory=list)

    def values(self) -> Values:
        found = sections(self.trace)
        head = self.head(found[-1])
        blocks = {(s.part, s.level): self.block(s) for s in found}
        levels = max(s.level for s in found) + 1
        widths = {"encoder": self.widths(found, blocks, "encoder"), "decoder": self.widths(found, blocks, "decoder")}
        ups = [s for s in found if s.part == "decoder"]
        joins = {s.level: self.join(s, found) for s in ups}
        for section in found:
            tables = blocks[section.part, section.level].tables
            if section.part == "encoder" and section.level:
                tables["down"] = self.down(section, blocks["encoder", section.level])
            elif section.part == "decoder":
                tables["up"] = self.up(section, ups, widths, joins)
        resized = [s.level for s in ups if blocks["decoder", s.level].tables["up"].get("scale") == "skip"]
        merges, assumed = merge_tables(joins, resized)
        self.assumed += assumed
        for level, merge in merges.items():
            blocks["decoder", level].tables["merge"] = merge
        shape = self.trace.shapes
        return {
            "dimensions": len(shape[0]) - 2,
            "in_channels": shape[0][1],
            "out_channels": shape[self.trace.outputs[0]][1],
            "widths": [widths["encoder"][level] for level in range(levels)],
            **self.other_widths(blocks, widths, levels),
            **with_overrides({place: block.tables for place, block in blocks.items()}),
            **({"head": head} if head else {}),
        }

    def head(self, last: Section) -> Values | None:
        """Cut the head off the last section: its last convolution, where what stands before it is whole units."""
        convolutions = [number for number, event in enumerate(last.calls) if event.kind == "conv"]
        if not convolutions:
            raise NotInferred(f"there is no convolution in {last}")
        place = convolutions[-1]
        tail = last.calls[place:]
        before = list(last.calls[:place])
        unit = kinds(first_unit(before))
        if len(convolutions) > 1 and len(unit) > 1 and kinds(tail) == unit:
            return None  # one more unit, and no head
        last.calls = before
        settings = tail[0].settings
        head: Values = {key: short(settings[key]) for key in ("kernel", "padding", "bias")}
        for event in tail[1:]:
            step = STEPS[event.kind]
            if step in head or step == "dropout":
                raise NotInferred(f"{event.kind} after the head")
            head[step] = table_of(event)
        return head

    def block(self, section: Section) -> _Block:
        calls = section.calls
        convolutions = [event for event in calls if event.kind == "conv"]
        if section.down is not None and section.down.kind == "conv" and not self.is_unit(section):
            calls, convolutions = calls[1:], convolutions[1:]
        if not convolutions:
            if calls:
                raise NotInferred(f"{' and '.join(kinds(calls))} without a convolution in {section}")
            return _Block({"block": {"convolutions": 0}})
        units = units_of(calls, len(convolutions))
        if units is None:
            dropped = [event for event in calls if event.kind == "dropout"]
            calls = [event for event in calls if event.kind != "dropout"]
            units = units_of(calls, len(convolutions)) if dropped else None
            if units is None:
                raise NotInferred(f"the units of {section} do not repeat: {', '.join(kinds(section.calls))}")
        first, order = units[0], [STEPS[event.kind] for event in units[0]]
        for unit in units[1:]:
            for one, other in zip(first, unit, strict=True):
                if apart := unlike(table_of(one), table_of(other)):
                    raise NotInferred(f"the units of {section} differ: {apart} of {one} and {other}; a spec has one")
        if any(max(event.settings["stride"]) > 1 for event in convolutions[1:]):
            raise NotInferred(f"a convolution with a stride within {section}")
        tables: dict[str, Values] = {STEPS[event.kind]: table_of(event) for event in first}
        if "activation" not in tables:
            tables["activation"] = {"kind": "identity"}
            order = [*order, "activation"]
        tables["block"] = {"convolutions": len(convolutions), "order": order}
        outs = [event.settings["out_channels"] for event in convolutions]
        if len(set(outs[:-1])) > 1:
            raise NotInferred(f"the convolutions of {section} have {words_of(outs)} channels; a spec has two widths")
        return _Block(tables, outs[-1], outs[0] if len(outs) > 1 else None)

    def is_unit(self, section: Section) -> bool:
        """Whether a strided convolution is the first of its block, with the norm and activation of the others."""
        convolutions = [event for event in section.calls if event.kind == "conv"]
        units = units_of(section.calls, len(convolutions))
        return units is not None and all(
            table_of(unit[place_of_conv(unit)]) | {"stride": 0} == table_of(section.calls[0]) | {"stride": 0}
            for unit in units
        )

    def widths(self, found: Sequence[Section], blocks: dict[tuple[str, int], _Block], part: str) -> dict[int, int]:
        """Channels at the end of each level; a level without convolutions has those that it gets."""
        widths: dict[int, int] = {}
        for section in found:
            if section.part == part:
                width = blocks[part, section.level].width
                end = section.join or section.down or section.up
                widths[section.level] = width or (self.trace.shapes[end.output][1] if end else self.trace.shapes[0][1])
        return widths

    def other_widths(
        self, blocks: dict[tuple[str, int], _Block], widths: dict[str, dict[int, int]], levels: int
    ) -> Values:
        """Those that are not the encoder's."""
        encoder, decoder = ([widths[part][level] for level in range(levels - less)] for part, less in PARTS)
        middles = [
            [blocks[part, level].middle or widths[part][level] for level in range(levels - less)]
            for part, less in PARTS
        ]
        values: Values = {}
        if middles[0] != encoder:
            values["middle_widths"] = middles[0]
        if decoder != encoder[: levels - 1]:
            values["decoder_widths"] = decoder
        if middles[1] != decoder:
            values["decoder_middle_widths"] = middles[1]
        return values

    def down(self, section: Section, block: _Block) -> Values:
        event = section.down
        assert event is not None
        if event.kind != "conv":
            return {"kind": event.kind, **window(event)}
        if self.is_unit(section):
            return {"kind": "none"}
        out = event.settings["out_channels"]
        wide = "same" if out == event.settings["in_channels"] and out != block.width else "next"
        keys = ("kernel", "stride", "padding", "bias")
        return {"kind": "conv", **{key: short(event.settings[key]) for key in keys}, "width": wide}

    def up(
        self, section: Section, ups: Sequence[Section], widths: dict[str, dict[int, int]], joins: dict[int, Join | None]
    ) -> Values:
        event = section.up
        assert event is not None
        values: Values = {"kind": event.kind}
        if event.kind == "transposed_conv":
            keys = ("kernel", "stride", "padding", "output_padding", "bias")
            values |= {key: short(event.settings[key]) for key in keys}
            values["width"] = self.width_word([(s, s.up) for s in ups], section, widths)
        else:
            values["scale"] = self.scale(section, event, joins[section.level])
            if event.kind == "linear":
                values["align_corners"] = event.settings["align_corners"]
        if section.after_up:
            convolutions = [event for event in section.after_up if event.kind == "conv"]
            steps = [STEPS[event.kind] for event in section.after_up]
            if len(convolutions) > 1 or len(set(steps)) != len(steps) or "dropout" in steps:
                raise NotInferred(f"{', '.join(kinds(section.after_up))} between up-sampling and merge of {section}")
            tables = {STEPS[event.kind]: table_of(event) for event in section.after_up}
            conv = tables.pop("conv", {"kernel": 1, "padding": 0, "padding_mode": "zeros", "bias": False})
            places = [(s, next((e for e in s.after_up if e.kind == "conv"), None)) for s in ups]
            values["after"] = {
                **{key: conv[key] for key in ("kernel", "padding", "padding_mode", "bias")},
                "width": self.width_word(places, section, widths) if convolutions else "same",
                "order": steps,
                "norm": tables.get("norm", {"kind": "none"}),
                "activation": tables.get("activation", {"kind": "identity"}),
            }
        return values

    def scale(self, section: Section, event: Event, join: Join | None) -> Any:
        """A factor, or "skip" where the size was computed and is the skip's."""
        if event.settings["scale"] is not None:
            return short(event.settings["scale"])
        before, after = (self.trace.shapes[number][2:] for number in (event.inputs[0], event.output))
        if join is not None and not any(join.differences):
            return "skip"
        if any(new % old for new, old in zip(after, before, strict=True)):
            raise NotInferred(f"{section} is resized from {words(before)} to {words(after)}, which is no whole factor")
        return short(tuple(new // old for new, old in zip(after, before, strict=True)))

    def width_word(
        self, places: Sequence[tuple[Section, Event | None]], section: Section, widths: dict[str, dict[int, int]]
    ) -> str:
        """What the channels after up-sampling are called: the word that holds at the most levels, this one included."""
        held: dict[int, list[str]] = {}
        for s, event in places:
            if event is not None:
                into, out = event.settings["in_channels"], event.settings["out_channels"]
                named = {
                    "half": into / 2,
                    "same": into,
                    "skip": widths["encoder"][s.level],
                    "decoder": widths["decoder"][s.level],
                }
                held[s.level] = [word for word, channels in named.items() if channels == out]
        here = held[section.level]
        if not here:
            raise NotInferred(f"the channels after up-sampling at {section} are none of half, same, skip and decoder")
        counts = Counter(word for words in held.values() for word in words)
        return max(here, key=lambda word: counts[word])

    def join(self, section: Section, found: Sequence[Section]) -> Join | None:
        if section.join is None:
            return None
        before = section.after_up[-1] if section.after_up else section.up
        assert before is not None
        return join_of(self.trace, section.join, before.output, self.ends(found))

    def ends(self, found: Sequence[Section]) -> list[int]:
        """The last map of each encoder level."""
        last = [(s.calls or [s.down])[-1] for s in found if s.part == "encoder"]
        return [event.output if event is not None else 0 for event in last]


PARTS = (("encoder", 0), ("decoder", 1))
"""With how many levels fewer than the network has."""
