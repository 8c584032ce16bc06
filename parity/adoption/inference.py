"""Infer a spec from the trace of a plain encoder-decoder U-Net, and say what the trace cannot show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pydantic import ValidationError

from backends.trace import Event, Trace
from shared_specs import UNetSpec
from shared_specs.problems import describe

from .gates import Gate, gate_of
from .joins import Join, join_of
from .matching import match
from .merge_values import merge_tables
from .path import STEPS, NotInferred, Section, sections
from .spec_values import (
    Values,
    as_written,
    first_unit,
    kinds,
    other_widths,
    place_of_conv,
    short,
    table_of,
    units_of,
    unlike,
    window,
    with_overrides,
    words_of,
)
from .unsaid import NO_WORD, unsayable
from .up_values import UpTables


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
        spec = UNetSpec.model_validate(values)
    except ValidationError as error:
        return Inference(None, f"what was found makes no spec: {describe(error, values)}")
    if draft.gates or draft.many is not None:  # of which the draft has seen the ends alone
        apart = [found for found in match(spec, trace).differences if not found.module.startswith("dropout")]
        if apart and draft.many is not None:
            what = f"{draft.many} joins {len(draft.many.inputs)} maps, and not as nested decoders do: {apart[0]}"
            return Inference(None, what, branches="nested")
        if apart and ".attention." in apart[0].layer:
            return Inference(None, f"its gates on skips are not those of a spec: {apart[0]}", advice=NO_WORD)
    return Inference(spec, assumed=tuple(draft.assumed))


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
    gates: dict[int, Gate] = field(default_factory=dict)  # by level of the decoder
    many: Event | None = None  # a merge of more than two maps, as nested decoders have

    def values(self) -> Values:
        found = sections(self.trace)
        head = self.head(found[-1])
        for below, section in pairwise(found):
            if section.up is not None:
                section.before_up = self.before_up(below)
        blocks = {(s.part, s.level): self.block(s) for s in found}
        levels = max(s.level for s in found) + 1
        widths = {"encoder": self.widths(found, blocks, "encoder"), "decoder": self.widths(found, blocks, "decoder")}
        ups = [s for s in found if s.part == "decoder"]
        joins = {s.level: self.join(s, found) for s in ups}
        up_tables = UpTables(self.trace, ups, widths, joins)
        for section in found:
            tables = blocks[section.part, section.level].tables
            if section.part == "encoder" and section.level:
                tables["down"] = self.down(section, blocks["encoder", section.level])
            elif section.part == "decoder":
                tables["up"] = up_tables.table(section)
        resized = [s.level for s in ups if blocks["decoder", s.level].tables["up"].get("scale") == "skip"]
        merges, assumed = merge_tables(joins, resized)
        self.assumed += assumed
        for level, merge in merges.items():
            blocks["decoder", level].tables["merge"] = merge
        for level, gate in self.gates.items():
            norm = {"kind": "none"} if gate.norm is None else table_of(gate.norm)
            table = {"width": "half", "bias": gate.conv.settings["bias"], "norm": norm}
            blocks["decoder", level].tables["attention"] = table
        shape = self.trace.shapes
        return {
            "dimensions": len(shape[0]) - 2,
            "in_channels": shape[0][1],
            "out_channels": shape[self.trace.outputs[0]][1],
            "widths": [widths["encoder"][level] for level in range(levels)],
            **other_widths(widths, {place: block.middle for place, block in blocks.items()}, levels),
            **with_overrides({place: block.tables for place, block in blocks.items()}),
            **({"head": head} if head else {}),
            **({"nested": True} if self.many is not None else {}),
        }

    def head(self, last: Section) -> Values | None:
        """Cut the head off the last section: its last convolution, where what stands before it is whole units."""
        convolutions = [number for number, event in enumerate(last.calls) if event.kind == "conv"]
        if not convolutions and last.up is not None and last.up.kind == "transposed_conv" and last.join is None:
            last.after_up, last.calls = last.calls, []
            return None  # the last up-sampling gives the logits
        if not convolutions:
            raise NotInferred(f"there is no convolution in {last}")
        place = convolutions[-1]
        tail = last.calls[place:]
        before = list(last.calls[:place])
        unit = kinds(first_unit(before))
        is_like_units = len(convolutions) > 1 and len(unit) > 1 and kinds(tail) == unit
        if is_like_units and self.is_block(last):
            return None  # one more unit, and no head
        last.calls = before
        settings = tail[0].settings
        head: Values = {key: short(settings[key]) for key in ("kernel", "padding", "bias")}
        for event in tail[1:]:
            step = STEPS[event.kind]
            if step in head or step == "dropout":
                raise NotInferred(f"{event.kind} after the head")
            if step == "norm" and "activation" in head:
                raise NotInferred(f"{event} after the activation of the head; a spec has it before", NO_WORD)
            head[step] = table_of(event)
        return head

    def before_up(self, section: Section) -> list[Event]:
        """Cut off what stands between a level's block and the up-sampling that follows, where the block is regular."""
        places = [number for number, event in enumerate(section.calls) if event.kind == "conv"]
        if not places:
            before, section.calls = section.calls, []
            return before
        block, before = section.calls[: places[-1]], section.calls[places[-1] :]
        if self.is_block(section) or not self.is_block(replace(section, calls=block)) or not block:
            return []
        section.calls = block
        return before

    def is_block(self, section: Section) -> bool:
        try:
            self.block(section)
        except NotInferred:
            return False
        return True

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
                raise NotInferred(f"the units of {section} do not repeat: {', '.join(kinds(section.calls))}", ALIKE)
        first, order = units[0], [STEPS[event.kind] for event in units[0]]
        for unit in units[1:]:
            for one, other in zip(first, unit, strict=True):
                if apart := unlike(table_of(one), table_of(other)):
                    raise NotInferred(
                        f"the units of {section} differ: {apart} of {one} and {other}; a spec has one", ALIKE
                    )
        if any(max(event.settings["stride"]) > 1 for event in convolutions[1:]):
            raise NotInferred(f"a convolution with a stride within {section}")
        tables: dict[str, Values] = {STEPS[event.kind]: table_of(event) for event in first}
        if "activation" not in tables:
            tables["activation"] = {"kind": "identity"}
            order = [*order, "activation"]
        tables["block"] = {"convolutions": len(convolutions), "order": order}
        outs = [event.settings["out_channels"] for event in convolutions]
        if len(set(outs[:-1])) > 1:
            raise NotInferred(
                f"the convolutions of {section} have {words_of(outs)} channels; a spec has two widths", NO_WORD
            )
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
                end = section.join or (section.after_up or [section.down or section.up])[-1]
                widths[section.level] = width or (self.trace.shapes[end.output][1] if end else self.trace.shapes[0][1])
        return widths

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

    def join(self, section: Section, found: Sequence[Section]) -> Join | None:
        if section.join is None:
            return None
        before = section.after_up[-1] if section.after_up else section.up
        assert before is not None
        join, end = join_of(self.trace, section.join, before.output, self.ends(found)), self.ends(found)[section.level]
        for number, source in enumerate(join.sources):
            gate = gate_of(self.trace, source)
            if gate is not None and gate.skip == end:
                sources = [end if place == number else other for place, other in enumerate(join.sources)]
                self.gates[section.level], join = gate, replace(join, sources=sources)
        if len(join.sources) > 2 and {end, before.output} <= set(join.sources):
            self.many = self.many or join.event
            both = sorted(join.sources.index(number) for number in (end, before.output))
            adjustments = [join.adjustments[place] for place in both]
            join = replace(join, sources=[join.sources[place] for place in both], adjustments=adjustments)
        strangers = [number for number in join.sources if number not in (end, before.output)]
        if strangers and len(join.sources) == 2:
            joined, skip = (self.trace.producers.get(number, "the images") for number in (strangers[0], end))
            raise NotInferred(f"{join.event} joins {joined} at {section}, where the skip of a spec is {skip}", NO_WORD)
        return join

    def ends(self, found: Sequence[Section]) -> list[int]:
        """The last map of each encoder level."""
        last = [(s.calls or [s.down])[-1] for s in found if s.part == "encoder"]
        return [event.output if event is not None else 0 for event in last]


ALIKE = "no spec says it either, as the units of a level are alike: make them so, or keep it in PyTorch"
