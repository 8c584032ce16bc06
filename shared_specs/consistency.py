"""Whether the keys of a spec agree with each other. Every message begins with the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import tables
from .problems import shorten
from .unit_tables import by_axis

if TYPE_CHECKING:
    from .schema import Level, Override, Part, UNetSpec


def check(spec: UNetSpec) -> None:
    """Raises ValueError for the first thing that does not agree. Channels are checked by `network`, as it is built."""
    _axes(spec, "", spec.dimensions, "")
    expected = {"conv", "activation"} | ({"norm"} if spec.norm.kind != "none" else set())
    expected |= {"dropout"} if spec.dropout is not None else set()
    if sorted(spec.block.order) != sorted(expected):
        raise ValueError(
            f"block.order: got {shorten(list(spec.block.order))}, "
            f"expected each of {', '.join(sorted(expected))} once as norm.kind is {spec.norm.kind!r}"
            f"{'' if spec.dropout is None else ' and there is a dropout'}"
        )
    for key, count in (("middle_widths", 0), ("decoder_widths", 1), ("decoder_middle_widths", 1)):
        widths = getattr(spec, key)
        if widths is not None and len(widths) != spec.levels - count:
            part = "decoder" if count else "encoder"
            raise ValueError(
                f"{key}: got {len(widths)} widths, expected {spec.levels - count}, one for each level of the {part}"
            )
    for number, override in enumerate(spec.override):
        _override(spec, override, f"override.{number}")
    for level in range(spec.levels):
        _level(spec, "encoder", level)
    for level in range(spec.levels - 1):
        _level(spec, "decoder", level)
    _deep_supervision(spec)


def _override(spec: UNetSpec, override: Override, key: str) -> None:
    levels = spec.levels - (override.part == "decoder")
    if override.levels is not None and max(override.levels, default=levels) >= levels:
        raise ValueError(
            f"{key}.levels: got {shorten(list(override.levels))}, "
            f"expected one or more {override.part} levels below {levels}"
        )
    if levels == 0:
        raise ValueError(f"{key}.part: got 'decoder', expected 'encoder' as there is one level")
    for name in UNUSED[override.part]:
        if getattr(override, name) is not None:
            raise ValueError(f"{key}.{name}: got a table, expected none as the {override.part} has no {name}")


UNUSED = {"encoder": ("up", "merge", "attention"), "decoder": ("down",)}
"""Tables that mean nothing on one side of the network."""


def _level(spec: UNetSpec, part: Part, level: int) -> None:
    at = spec.at(part, level)
    where = f"at {part} level {level}"
    _axes(at, "", spec.dimensions, f" {where}")
    _order("block.order", at.block.order, at.norm, needs_conv=True)
    if ("dropout" in at.block.order) and at.dropout is None:
        raise ValueError(f"block.order: got {shorten(list(at.block.order))}, expected no dropout as none is given")
    if part == "decoder":
        _decoder(spec, at, where)
    elif isinstance(at.down, tables.MaxPool):
        sides = (by_axis(value, spec.dimensions) for value in (at.down.kernel, at.down.padding))
        if any(2 * padding > kernel for kernel, padding in zip(*sides, strict=True)):
            raise ValueError(
                f"down.padding: got {_shown(at.down.padding)}, expected at most half of the kernel "
                f"{_shown(at.down.kernel)}, or a window lies in the padding alone"
            )
    residual = at.residual
    if residual is None or not at.block.convolutions:
        return
    if residual.stem >= at.block.convolutions:
        raise ValueError(
            f"residual.stem: got {residual.stem}, expected fewer than the {at.block.convolutions} convolutions {where}"
        )
    if (at.block.convolutions - residual.stem) % residual.span:
        after = f" after the {residual.stem} of the stem" if residual.stem else ""
        raise ValueError(
            f"residual.span: got {residual.span}, "
            f"expected a divisor of the {at.block.convolutions - residual.stem} convolutions {where}{after}"
        )
    if residual.norm and at.norm.kind == "none":
        raise ValueError(f"residual.norm: got True, expected false as norm.kind is 'none' {where}")
    if residual.last_activation == "after_sum" and at.block.order[-1] != "activation":
        raise ValueError(
            f"residual.last_activation: got 'after_sum', expected 'before_sum' as block.order does not end "
            f"with the activation {where}"
        )


def _decoder(spec: UNetSpec, at: Level, where: str) -> None:
    strides = at.conv.stride if isinstance(at.conv.stride, tuple) else (at.conv.stride,)
    if set(strides) != {1}:
        raise ValueError(
            f"conv.stride: got {_shown(at.conv.stride)}, expected 1 {where}; take an override for the encoder"
        )
    up = at.up
    if isinstance(up, tables.TransposedConvolution):
        sides = [by_axis(value, spec.dimensions) for value in (up.kernel, up.stride, up.padding, up.output_padding)]
        for kernel, stride, padding, output_padding in zip(*sides, strict=True):
            if 2 * padding >= kernel + stride:
                raise ValueError(
                    f"up.padding: got {_shown(up.padding)}, expected less than half of kernel + stride "
                    f"= {kernel + stride}, or nothing is left of two pixels"
                )
            if output_padding and output_padding >= stride:
                raise ValueError(
                    f"up.output_padding: got {_shown(up.output_padding)}, "
                    f"expected less than the stride {_shown(up.stride)}"
                )
    for name, unit in (("up.before", up.before), ("up.after", up.after)):
        if unit is not None:
            _order(f"{name}.order", unit.order, unit.norm)
    if at.merge.before_up and getattr(up, "scale", None) == "skip":
        raise ValueError("up.scale: got 'skip', expected a number as merge.before_up joins the skip first")
    if at.attention is not None and (at.merge.size_mismatch != "error" or at.merge.before_up):
        raise ValueError(
            f"attention: got a table, expected none as merge.size_mismatch is not 'error' "
            f"or merge.before_up is true {where}"
        )
    if spec.nested and (at.merge.before_up or at.merge.kind == "none"):
        raise ValueError(f"nested: got true, expected false as there is no merge after up-sampling {where}")


def _order(key: str, order: tuple[str, ...], norm: tables.Norm, needs_conv: bool = False) -> None:
    got = shorten(list(order))
    if len(set(order)) != len(order) or (needs_conv and "conv" not in order):
        raise ValueError(f"{key}: got {got}, expected each step at most once{', and a conv' if needs_conv else ''}")
    if "norm" in order and norm.kind == "none":
        raise ValueError(f"{key}: got {got}, expected no norm as norm.kind is 'none'")
    if not needs_conv and "dropout" in order:
        raise ValueError(f"{key}: got {got}, expected no dropout here")


def _deep_supervision(spec: UNetSpec) -> None:
    deep = spec.deep_supervision
    if deep is None:
        return
    if spec.head is None:
        raise ValueError(
            "deep_supervision: got a table, expected none as there is no head, whose form deeper heads have"
        )
    if spec.levels < 3:
        raise ValueError(
            f"deep_supervision: got a table, expected none as there are {spec.levels} levels, not 3 or more"
        )
    if list(deep.levels) != sorted(set(deep.levels)) or deep.levels[-1] > spec.levels - 2:
        raise ValueError(
            f"deep_supervision.levels: got {list(deep.levels)}, "
            f"expected decoder levels from 1 to {spec.levels - 2}, ascending"
        )
    if len(deep.weights) != len(deep.levels) + 1:
        raise ValueError(
            f"deep_supervision.weights: got {len(deep.weights)}, "
            f"expected {len(deep.levels) + 1}, the final head's first"
        )


def _axes(table: tables.Table, prefix: str, dimensions: int, where: str) -> None:
    """Refuse a size with another number of axes than the spec has."""
    for key in type(table).model_fields:
        value = getattr(table, key)
        if isinstance(value, tables.Table):
            _axes(value, f"{prefix}{key}.", dimensions, where)
        elif key in BY_AXIS and isinstance(value, tuple) and len(value) != dimensions:
            raise ValueError(
                f"{prefix}{key}: got {shorten(list(value))}, "
                f"expected one number or {dimensions} as dimensions is {dimensions}{where}"
            )


BY_AXIS = ("kernel", "stride", "padding", "dilation", "output_padding", "scale")


def _shown(value: int | tuple[int, ...]) -> str:
    return shorten(value if isinstance(value, int) else list(value))
