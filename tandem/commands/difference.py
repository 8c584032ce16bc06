"""`tandem show A B`: in what two networks differ: keys of their specs, layers, totals."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from shared_specs import ShapeError, UNetSpec
from shared_specs.layout import Layer
from shared_specs.shapes import feature_shapes, size_label

from ..console import Output, plain_table, say_note
from ..units import NOTHING, counted, sized
from .show import Shown, load

DESCRIPTIONS = ("name", "title", "source", "citation", "licence", "checkpoint")
"""Keys that say where a network comes from, and not what it computes."""


@dataclass(frozen=True)
class LayerPair:
    """A layer that differs, or that one of the two lacks, with its settings that differ."""

    name: str
    first: Layer | None
    second: Layer | None
    settings: dict[str, tuple[Any, Any]]


def run(
    names: tuple[str, str],
    size: str | None = None,
    narrow: int | None = None,
    batch: int = 1,
    every: bool = False,
    json_path: str | None = None,
) -> int:
    """Print what differs; the answer is in what is printed, so that the exit code is 0."""
    output = Output(json_path, names)
    first, second = load_both(names, size, narrow, batch)
    heads = (first.spec.name, second.spec.name)
    heads = heads if heads[0] != heads[1] else names
    keys, layers = differing_keys(first.spec, second.spec), differing_layers(first, second)
    same = not keys and not layers
    output.print(f"{heads[0]} and {heads[1]}", style="bold")
    if same:
        output.print("The same network: nothing differs that shapes the function.", style="bold green")
    if keys:
        output.print(keys_table(keys, heads))
    if layers and every:
        output.print(every_layer_table(layers, (first, second), heads))
    elif layers:
        tables = [layers_table(layers, heads), shapes_table(first, second, heads)]
        output.print(*[table for table in tables if table is not None and table.row_count])
        output.print(f"{len(layers):,} layers differ; --all prints every one.", style="dim")
    output.print(totals_table(first, second, heads))
    output.write(
        "show_difference",
        {
            "same_function": same,
            "first": _side(first),
            "second": _side(second),
            "keys": [{"key": key, "first": a, "second": b} for key, (a, b) in keys.items()],
            "layers": [
                {
                    "name": pair.name,
                    "first": None if pair.first is None else first.layer(pair.first),
                    "second": None if pair.second is None else second.layer(pair.second),
                    "settings": pair.settings,
                }
                for pair in layers
            ],
        },
    )
    return 0


def load_both(names: tuple[str, str], size: str | None, narrow: int | None, batch: int) -> tuple[Shown, Shown]:
    """Both networks at the same size, where none was asked for and both can take one; else each at its own."""
    first, second = (load(name, size, narrow, batch) for name in names)
    if size is not None or first.images[2:] == second.images[2:]:
        return first, second
    for one, other in ((first, second), (second, first)):
        images = (batch, other.spec.in_channels, *one.images[2:])
        try:
            feature_shapes(other.spec, images)
        except ShapeError:
            continue
        other = Shown(other.spec, images)
        return (one, other) if one is first else (other, one)
    sizes = [f"{shown.spec.name} {size_label(shown.images[2:])}" for shown in (first, second)]
    say_note(f"no usual size suits both, so that each has its own: {', '.join(sizes)}; --size gives both the same")
    return first, second


def differing_keys(first: UNetSpec, second: UNetSpec) -> dict[str, tuple[Any, Any]]:
    """Both values of every key that differs, by its dotted name; None where a key is absent."""
    flat = [_flat(spec.model_dump(mode="json", exclude=set(DESCRIPTIONS))) for spec in (first, second)]
    names = _in_order(list(flat[0]), list(flat[1]))
    pairs = {name: (flat[0].get(name), flat[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Tables in tables as one, by dotted key; what is absent is left out."""
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        items = enumerate(value)
    else:
        return {} if value is None or value == [] else {prefix: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def _in_order(first: list[str], second: list[str]) -> list[str]:
    """The names of both, each where it stands in its own list."""
    merged: dict[str, None] = {}
    for _, a, b, c, d in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        merged |= dict.fromkeys([*first[a:b], *second[c:d]])
    return list(merged)


def differing_layers(first: Shown, second: Shown) -> list[LayerPair]:
    """Layers that one lacks, or that differ in kind, shape, parameters, settings or in what they read."""
    layers = [{layer.name: layer for layer in shown.spec.layers} for shown in (first, second)]
    found = []
    for name in _in_order(list(layers[0]), list(layers[1])):
        one, other = layers[0].get(name), layers[1].get(name)
        if one is None or other is None:
            found.append(LayerPair(name, one, other, {}))
            continue
        settings = _differing_settings(one, other)
        # The way past a layer that only one of them has is told by that layer.
        reads = [tuple(n for n in layer.inputs if all(n in known for known in layers)) for layer in (one, other)]
        if reads[0] != reads[1] and len(reads[0]) == len(reads[1]):
            settings["inputs"] = (one.inputs, other.inputs)
        shapes = first.shapes[name] == second.shapes[name]
        if settings or not shapes or one.kind != other.kind or one.parameter_count != other.parameter_count:
            found.append(LayerPair(name, one, other, settings))
    return found


def _differing_settings(one: Layer, other: Layer) -> dict[str, tuple[Any, Any]]:
    if one.kind != other.kind:
        return {}
    values = [_values(layer.settings) for layer in (one, other)]
    keys = list(values[0] | values[1])
    pairs = {key: (values[0].get(key), values[1].get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _values(settings: Any) -> dict[str, Any]:
    """A layer's settings by name. Those of an up-sampling that make layers of their own are told by these."""
    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json", exclude={"before", "after"})
    return {} if settings is None else dataclasses.asdict(settings)


def keys_table(keys: dict[str, tuple[Any, Any]], heads: tuple[str, str]) -> Table:
    """One row a key."""
    table = plain_table("Keys of the spec", "key", *heads, wrap=heads)
    for key, pair in keys.items():
        table.add_row(key, *map(_value, pair))
    return table


def _value(value: Any) -> str:
    match value:
        case None:
            return NOTHING
        case bool():
            return str(value).lower()
        case list() | tuple():
            return ", ".join(map(_value, value))
        case _:
            return str(value)


def layers_table(layers: list[LayerPair], heads: tuple[str, str]) -> Table:
    """One row for all layers that differ in the same way; what differs in size alone is in the table of shapes."""
    alike: dict[str, list[LayerPair]] = {}
    for pair in layers:
        kinds = [None if layer is None else layer.kind for layer in (pair.first, pair.second)]
        counts = [0 if layer is None else layer.parameter_count for layer in (pair.first, pair.second)]
        if pair.settings or kinds[0] != kinds[1] or counts[0] != counts[1]:
            alike.setdefault(repr((kinds, pair.settings)), []).append(pair)
    table = plain_table("Layers", "layer", *heads, wrap=("layer", *heads))
    for pairs in alike.values():
        more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
        table.add_row(f"{pairs[0].name}{more}", *(_cell(pairs, side) for side in (0, 1)))
    return table


def _cell(pairs: list[LayerPair], side: int) -> str:
    """What of some layers differs from the other network's."""
    both = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
    own, other = both[side][0], both[1 - side][0]
    if own is None:
        return NOTHING
    counts = [sum(layer.parameter_count for layer in layers if layer is not None) for layers in both]
    parts = [own.kind] if other is None or own.kind != other.kind else []
    shown = {key: [_setting(value) for value in values] for key, values in pairs[0].settings.items()}
    parts += [f"{key} {words[side]}" for key, words in shown.items() if words[0] != words[1]]  # else it is the axes
    if counts[0] != counts[1] and counts[side]:
        parts.append(f"{counts[side]:,} parameters")
    return ", ".join(parts) or "as the other"


def _setting(value: Any) -> str:
    """A setting by axis as one number where the axes have the same."""
    if isinstance(value, list | tuple):
        return _value(value[0]) if len(set(map(str, value))) == 1 else " ".join(map(_value, value))
    return _value(value)


def every_layer_table(layers: list[LayerPair], sides: tuple[Shown, Shown], heads: tuple[str, str]) -> Table:
    """One row a layer that differs in anything."""
    table = plain_table("Every layer that differs", "layer", *heads, wrap=heads)
    for pair in layers:
        cells = []
        for side, layer in enumerate((pair.first, pair.second)):
            shape = "" if layer is None else size_label(sides[side].shapes[pair.name][1:])
            cells.append(NOTHING if layer is None else ", ".join(filter(None, (shape, _cell([pair], side)))))
        table.add_row(pair.name, *(cell.removesuffix(", as the other") for cell in cells))
    return table


def shapes_table(first: Shown, second: Shown, heads: tuple[str, str]) -> Table | None:
    """The map at the end of each block, where the two differ; None where none does."""
    ends = [_ends(shown) for shown in (first, second)]
    names = [name for name in _in_order(list(ends[0]), list(ends[1])) if ends[0].get(name) != ends[1].get(name)]
    if not names:
        return None
    table = plain_table("Shapes at the end of each block", "block", *heads)
    for name in names:
        table.add_row(name, *(end.get(name, NOTHING) for end in ends))
    return table


def _ends(shown: Shown) -> dict[str, str]:
    """The shape that comes out of each block, by its name."""
    found = {"images": size_label(shown.images[1:])}
    for layer in shown.spec.layers:
        stage, *rest = layer.name.split(".")
        depth = {"encoder": 1, "decoder": 1, "nested": 2, "deep_head": 1}.get(stage, 0)
        found[".".join([stage, *rest[:depth]])] = size_label(shown.shapes[layer.name][1:])
    return found


def totals_table(first: Shown, second: Shown, heads: tuple[str, str]) -> Table:
    """Both networks' totals side by side, and how many times the first's the second's are."""
    table = plain_table("Totals", "", *heads, "ratio", right=(*heads, "ratio"))
    table.add_row("images", size_label(first.images), size_label(second.images), "")
    table.add_row("logits", size_label(first.logits), size_label(second.logits), "")
    rows: list[tuple[str, str, Callable[[float], str]]] = [
        ("layers", "layers", _grouped),
        ("parameters", "parameters", _grouped),
        ("norm state", "norm_state", _grouped),
        ("FLOPs forward", "forward_flops", counted),
        ("FLOPs backward", "backward_flops", counted),
        ("bytes at least forward", "forward_bytes", sized),
        ("bytes at least backward", "backward_bytes", sized),
        ("all outputs", "output_bytes", sized),
    ]
    totals = [shown.totals() for shown in (first, second)]
    for words, key, form in rows:
        one, other = (values[key] for values in totals)
        table.add_row(words, form(one), form(other), f"{other / one:.2f}" if one else "")
    return table


def _grouped(value: float) -> str:
    return f"{value:,.0f}"


def _side(shown: Shown) -> dict[str, Any]:
    return {
        "spec": shown.spec,
        "images_shape": shown.images,
        "logits_shape": shown.logits,
        "totals": shown.totals(),
    }
