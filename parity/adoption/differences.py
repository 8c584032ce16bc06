"""How one call of a user's module differs from one layer of a spec, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.trace import Event
from shared_specs.layout import Convolution, Layer, Pool, Resize


@dataclass(frozen=True)
class Difference:
    """Where a module is not what the spec says.

    Attributes:
        layer: the spec's layer.
        where: the place in the module, or "" where there is none.
        what: what differs, for instance "epsilon".
        module, spec: the module's value and the spec's, in words.
    """

    layer: str
    where: str
    what: str
    module: str
    spec: str

    def __str__(self) -> str:
        place = f"{self.layer}, in your module {self.where}" if self.where else self.layer
        return f"{place}: {self.what} {self.module} instead of {self.spec}"


MOST_TOLD = 8
"""Differences that are told unless every one is wanted."""


def told(differences: Sequence[Difference], every: bool = False) -> list[str]:
    """The differences in words, each setting that is another at many layers once, and how many are left out."""
    if every:
        return [str(difference) for difference in differences]
    alike: dict[tuple[str, str, str], list[Difference]] = {}
    for difference in differences:
        alike.setdefault((difference.what, difference.module, difference.spec), []).append(difference)
    lines = []
    for first, *others in list(alike.values())[:MOST_TOLD]:
        last = f", and the same at {len(others)} more, the last of them {others[-1].layer}" if others else ""
        lines.append(f"{first}{last}")
    left = sum(map(len, list(alike.values())[MOST_TOLD:]))
    return [*lines, *([f"and {left:,} more differences"] if left else [])]


ACTIVATIONS = ("relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity")
NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm")
POOLS = ("max_pool", "average_pool")
UPS = ("transposed_conv", "nearest", "linear", "pixel_shuffle")
FAMILIES = (ACTIVATIONS, NORMS, POOLS, UPS)

OTHER_ACTIVATIONS = (
    *("relu6", "rrelu", "selu", "celu", "mish", "glu", "softplus", "softsign", "softmax", "log_softmax"),
    *("hardtanh", "hardswish", "hardsigmoid", "logsigmoid"),
)
"""Functions that a spec has no word for, but that stand where activations do."""


def family(kind: str) -> tuple[str, ...]:
    """The kinds of layer that may stand in the same place."""
    return next((kinds for kinds in FAMILIES if kind in kinds), (kind,))


def is_of_family(event: Event, kind: str) -> bool:
    """Whether an event could stand where the spec has this kind of layer."""
    if event.kind == "other":
        return kind in ACTIVATIONS and event.call in OTHER_ACTIVATIONS
    return event.kind in family(kind)


def is_kind(event: Event, layer: Layer) -> bool:
    """Whether an event is of a layer's kind. Instance norm is group norm with one channel a group."""
    if {event.kind, layer.kind} == {"instance_norm", "group_norm"}:
        one_each = layer.settings.groups == layer.out_channels if layer.kind == "group_norm" else has_one_each(event)
        return bool(one_each)
    return event.kind == layer.kind


def has_one_each(event: Event) -> bool:
    """Whether a group norm has as many groups as channels."""
    return event.kind == "group_norm" and event.settings["groups"] == event.settings["channels"]


def name_of(event: Event) -> str:
    """What an event is, in the spec's words where it has one."""
    return event.settings.get("what", event.call) if event.kind == "other" else event.kind


def differences(layer: Layer, event: Event) -> list[Difference]:
    """What differs between a layer and the event that stands in its place."""
    where = str(event)
    if not is_kind(event, layer):
        return [Difference(layer.name, where, "kind", name_of(event), layer.kind)]
    found = [
        Difference(layer.name, where, what, words(theirs), words(ours))
        for what, theirs, ours in _settings(layer, event)
        if theirs != ours
    ]
    return found + [
        Difference(layer.name, where, leaf, "computed from other tensors", "a parameter")
        for leaf in event.settings.get("computed", ())
    ]


def _settings(layer: Layer, event: Event) -> Iterator[tuple[str, Any, Any]]:
    """What is compared, the module's value, and the spec's."""
    theirs = event.settings
    match layer.settings:
        case Convolution() as ours:
            yield "input channels", theirs["in_channels"], layer.in_channels
            yield "output channels", theirs["out_channels"], layer.out_channels
            for name in ("kernel", "stride", "padding", "dilation"):
                yield name, theirs[name], getattr(ours, name)
            if layer.kind == "transposed_conv":
                yield "output padding", theirs["output_padding"], ours.output_padding
            elif any(ours.padding):
                yield "padding mode", theirs["padding_mode"], ours.padding_mode
            yield "groups", theirs["groups"], 1
            yield "bias", theirs["bias"], ours.bias
        case Pool() as ours:
            for name in ("kernel", "stride", "padding"):
                yield name, theirs[name], getattr(ours, name)
            steps = (1,) * len(ours.kernel)
            yield "dilation", theirs.get("dilation", steps), steps
            yield "rounding", theirs["rounding"], "floor"
        case Resize() as ours:
            if ours.scale is not None and theirs["scale"] is not None:
                yield "factor", theirs["scale"], ours.scale
            if layer.kind == "linear":
                yield "align_corners", theirs["align_corners"], ours.align_corners
        case None:
            return
        case ours:
            if layer.kind == "group_norm" and event.kind == "instance_norm":
                theirs = {"groups": ours.groups, **theirs}
            yield from _of_table(layer.kind, theirs, ours.model_dump())


def _of_table(kind: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in ("epsilon", "momentum", "groups", "slope", "slopes", "alpha", "approximation", "rate", "scale"):
        if name in ours:
            yield name, theirs[name], ours[name]
    if kind in NORMS:
        yield "scale and shift", theirs["affine"], ours.get("affine", True)
        if "running_statistics" in theirs:
            yield "running statistics", theirs["running_statistics"], kind == "batch_norm"
    if kind == "dropout":
        yield "whole channels", theirs["whole_channels"], False
        yield "in evaluation mode", "on" if theirs["training"] else "off", "off"


def words(value: Any) -> str:
    """A setting as people write it: one number where all axes have the same."""
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case None:
            return "none"
        case tuple() if value and len(set(value)) == 1:
            return words(value[0])
        case tuple():
            return "x".join(map(str, value))
        case float():
            return repr(value)
        case _:
            return str(value)
