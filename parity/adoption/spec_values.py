"""Traced calls as values of a spec: units, tables, and overrides for the levels that differ from most."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backends.trace import Event, Trace

from .differences import has_one_each, words
from .path import STEPS, NotInferred

Values = dict[str, Any]


def as_written(trace: Trace) -> Trace:
    """A trace in the words of a spec, where those differ from PyTorch's."""
    return with_fewer_channels(with_instance_norms(without_channel_dropouts(trace).simplified()))


def with_instance_norms(trace: Trace) -> Trace:
    """Group norms are called instance norms where all of them have as many groups as channels."""
    norms = [event for event in trace.events if event.kind == "group_norm"]
    if not all(map(has_one_each, norms)):
        return trace
    events = (replace(e, kind="instance_norm") if e.kind == "group_norm" else e for e in trace.events)
    return replace(trace, events=tuple(events))


def with_fewer_channels(trace: Trace) -> Trace:
    """Group norms are written alike where those of one group only stand where a map has fewer channels than groups."""
    norms = [event for event in trace.events if event.kind == "group_norm"]
    most = max((event.settings["groups"] for event in norms), default=1)
    of_one = [e for e in norms if e.settings["groups"] == 1 and e.settings["channels"] < most]
    if not of_one or any(event.settings["groups"] != most for event in norms if event not in of_one):
        return trace
    ours = {"groups": most, "fewer_channels": "one_group"}
    events = (replace(e, settings={**e.settings, **ours}) if e.kind == "group_norm" else e for e in trace.events)
    return replace(trace, events=tuple(events))


def without_channel_dropouts(trace: Trace) -> Trace:
    """Those that zero whole channels do nothing, as no spec has them and what is random is not compared."""
    events = (
        replace(e, kind="identity") if e.kind == "dropout" and e.settings["whole_channels"] else e for e in trace.events
    )
    return replace(trace, events=tuple(events))


def kinds(events: Iterable[Event]) -> list[str]:
    """The kind of each event."""
    return [event.kind for event in events]


def place_of_conv(unit: Sequence[Event]) -> int:
    """Where a unit's convolution stands."""
    return kinds(unit).index("conv")


def first_unit(calls: Sequence[Event]) -> Sequence[Event]:
    """As many calls as there are for each convolution."""
    count = max(1, kinds(calls).count("conv"))
    return calls[: max(1, len(calls) // count)]


def units_of(calls: Sequence[Event], count: int) -> list[Sequence[Event]] | None:
    """The calls in as many equal parts, or None where they are not alike."""
    if not count or len(calls) % count:
        return None
    size = len(calls) // count
    units = [calls[start : start + size] for start in range(0, len(calls), size)]
    steps = [[STEPS[event.kind] for event in unit] for unit in units]
    return units if all(other == steps[0] and len(set(other)) == len(other) for other in steps) else None


def unlike(one: Values, other: Values) -> str:
    """What differs of two steps of a block, strides aside: "epsilon 1e-05 and 0.001"; "" where nothing does."""
    keys = [key for key in {**one, **other} if key != "stride" and one.get(key) != other.get(key)]
    return ", ".join(f"{key} {words(one.get(key))} and {words(other.get(key))}" for key in keys)


def short(value: Any) -> Any:
    """One number where all axes have the same."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def window(event: Event) -> Values:
    """The keys of a pool."""
    return {key: short(event.settings[key]) for key in ("kernel", "stride", "padding", "rounding")}


def table_of(event: Event) -> Values:
    """An event's settings as a table of the spec."""
    s = event.settings
    match event.kind:
        case "conv":
            keys = ("kernel", "stride", "padding", "padding_mode", "dilation", "bias")
            return {key: short(s[key]) for key in keys}
        case "batch_norm":
            if s["momentum"] is None:
                raise NotInferred(f"{event} averages over all batches (momentum None), for which a spec has no word")
            momentum = {"momentum": s["momentum"], "running_variance": "unbiased"}  # PyTorch keeps no other
            return {"kind": "batch", "epsilon": s["epsilon"], **momentum}
        case "instance_norm":
            return {"kind": "instance", "epsilon": s["epsilon"], "affine": s["affine"]}
        case "group_norm":
            keys = ("groups", "epsilon", "fewer_channels")
            return {"kind": "group", **{key: s[key] for key in keys if key in s}}
        case "layer_norm":
            return {"kind": "layer", "epsilon": s["epsilon"]}
        case "dropout":
            return {"rate": s["rate"]}
        case kind:
            return {"kind": kind, **s}


def words_of(values: Iterable[Any]) -> str:
    """Settings as people list them."""
    return " and ".join(words(value) for value in values)


def with_overrides(levels: dict[tuple[str, int], dict[str, Values]]) -> Values:
    """The tables that most levels have, and overrides for the others."""
    levels = {place: json.loads(json.dumps(tables)) for place, tables in levels.items()}  # lists, as in TOML
    base = {key: _most_common(tables[key] for tables in levels.values() if key in tables) for key in TABLES}
    if base["up"] is not None:
        base["up"] = _common(base["up"], [tables["up"] for tables in levels.values() if "up" in tables])
    if not all("attention" in tables for (part, _), tables in levels.items() if part == "decoder"):
        base["attention"] = None  # for the same reason
    values: Values = {key: table for key, table in base.items() if table is not None}
    values = {key: {"kind": "none"} for key in ("norm", "down", "up", "merge") if base[key] is None} | values
    if "conv" in values:
        values["conv"] = values["conv"] | {"stride": 1}
    if base["dropout"] is not None and "dropout" not in values["block"]["order"]:
        del values["dropout"]
    if "block" in values and "norm" not in values["block"]["order"]:
        values["norm"] = {"kind": "none"}
    changes: dict[tuple[str, str], list[int]] = {}
    for (part, level), tables in levels.items():
        changed = {key: table for key, table in tables.items() if {**values.get(key, {}), **table} != values.get(key)}
        if changed:
            changes.setdefault((part, json.dumps(changed)), []).append(level)
    values["override"] = [
        {"part": part, "levels": sorted(at), **json.loads(changed)} for (part, changed), at in changes.items()
    ]
    return values


TABLES = ("block", "conv", "norm", "activation", "dropout", "down", "up", "merge", "attention")


def _common(up: Values, ups: Iterable[Values]) -> Values:
    """Without what only some levels have: it is added there, as an override can take nothing away."""
    alike = [other for other in ups if other["kind"] == up["kind"]]
    return {key: value for key, value in up.items() if all(key in other for other in alike)}


def _most_common(tables: Iterable[Values]) -> Values | None:
    counts = Counter(json.dumps(table) for table in tables if table.get("convolutions") != 0)
    return json.loads(counts.most_common(1)[0][0]) if counts else None


def other_widths(
    widths: Mapping[str, Mapping[int, int]], middles: Mapping[tuple[str, int], int | None], levels: int
) -> Values:
    """Those that are not the encoder's.

    Args:
        widths: by part and level.
        middles: of the convolutions before a block's last one, by part and level; None where they are as wide as it.
        levels: of the network; the decoder has one less.
    """
    parts = (("encoder", levels), ("decoder", levels - 1))
    encoder, decoder = ([widths[part][level] for level in range(count)] for part, count in parts)
    middle, decoder_middle = (
        [middles[part, level] or widths[part][level] for level in range(count)] for part, count in parts
    )
    values: Values = {}
    if middle != encoder:
        values["middle_widths"] = middle
    if decoder != encoder[: levels - 1]:
        values["decoder_widths"] = decoder
    if decoder_middle != decoder:
        values["decoder_middle_widths"] = decoder_middle
    return values
