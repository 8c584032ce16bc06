"""What a spec means: the whole network, layer by layer, as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import tables
from .layer_builder import Builder, Map
from .layout import IMAGES, Layer, Pool, Resize

if TYPE_CHECKING:
    from .schema import Level, UNetSpec


def layers(spec: UNetSpec) -> list[Layer]:
    """Every layer of the network in the order of execution.

    Raises:
        ValueError: where channels do not fit, naming the key.
    """
    network = Network(spec)
    x = Map(IMAGES, spec.in_channels)
    maps: list[list[Map]] = []  # by level: the encoder's, and in a nested network those of the nodes
    for level in range(spec.levels):
        x = network.encoder(level, x)
        maps.append([x])
    if spec.nested:
        for column in range(1, spec.levels):
            for level in range(spec.levels - column):
                is_last = column == spec.levels - 1 - level
                name = f"decoder.{level}" if is_last else f"nested.{level}.{column - 1}"
                maps[level].append(network.decoder(name, level, maps[level], maps[level + 1][column - 1], is_last))
        x = maps[0][-1]
    else:
        for level in reversed(range(spec.levels - 1)):
            x = network.decoder(f"decoder.{level}", level, maps[level], x, is_last=True)
            maps[level].append(x)
    network.head(x)
    if spec.deep_supervision is not None:
        for number, level in enumerate(spec.deep_supervision.levels):
            network.deep_head(f"deep_head.{number}", level, maps[level][-1])
    return network.layers


class Network(Builder):
    """The parts of a U-Net; each method adds the layers of one and returns the map that comes out of it."""

    def __init__(self, spec: UNetSpec):
        super().__init__(spec.dimensions)
        self.spec = spec

    def encoder(self, level: int, x: Map) -> Map:
        self.stage, self.level = "encoder", level
        at, width = self.spec.at("encoder", level), self.spec.width("encoder", level)
        if level:
            x = self.down(f"encoder.{level}.down", at.down, x, width)
        return self.block(f"encoder.{level}.block", at, x, self.spec.middle_width("encoder", level), width)

    def decoder(self, name: str, level: int, skips: Sequence[Map], x: Map, is_last: bool) -> Map:
        self.stage, self.level = "decoder", level
        at = self.spec.at("decoder", level)
        part = "decoder" if is_last else "encoder"  # the inner nodes of a nested network are as wide as the encoder
        middle, width = self.spec.middle_width(part, level), self.spec.width(part, level)
        if at.merge.before_up:
            x = self.up(name, at.up, self.merge(name, at, skips, x), skips[-1], width)
        else:
            x = self.up(name, at.up, x, skips[-1], width)
            if at.attention is not None:
                skips = [*skips[:-1], self.attention(f"{name}.attention", at.attention, skips[-1], x)]
            x = self.merge(name, at, skips, x)
        return self.block(f"{name}.block", at, x, middle, width)

    def head(self, x: Map) -> None:
        self.stage, self.level, head = "head", 0, self.spec.head
        if head is None:
            if x.channels != self.spec.out_channels:
                raise ValueError(
                    f"out_channels: got {self.spec.out_channels}, expected the {x.channels} of {x.name} "
                    "as there is no head"
                )
            return
        x = self.head_convolution("head", head, x)
        if head.norm is not None:
            x = self.norm("head_norm", head.norm, x)
        if head.activation is not None:
            self.activation("head_activation", head.activation, x)

    def deep_head(self, name: str, level: int, x: Map) -> None:
        self.stage, self.level = "deep_head", level
        assert self.spec.head is not None
        self.head_convolution(name, self.spec.head, x)

    def head_convolution(self, name: str, head: tables.Head, x: Map) -> Map:
        return self.convolution(name, x, self.spec.out_channels, head.kernel, head.padding, head.bias, leaf="head")

    def block(self, name: str, at: Level, x: Map, middle: int, width: int) -> Map:
        count, residual, start = at.block.convolutions, at.residual, x
        if not count and x.channels != width:
            is_decoders = name.startswith("decoder") and self.spec.decoder_widths is not None
            key = "decoder_widths" if is_decoders else "widths"
            raise ValueError(
                f"{key}.{self.level}: got {width}, expected {x.channels} as {name} has no convolution to change them"
            )
        sums = () if residual is None else range(residual.stem + residual.span - 1, count, residual.span)
        for number in range(count):
            unit = f"{name}.{number}"
            late = residual is not None and number in sums and residual.last_activation == "after_sum"
            stride = at.conv.stride if number == 0 else 1
            steps = [step for step in at.block.order if not (late and step == "activation")]
            x = self.unit(unit, steps, at, x, width if number == count - 1 else middle, stride)
            if residual is not None and number < residual.stem:
                start = x
            if residual is not None and number in sums:
                bridged = at.conv.stride if number + 1 == residual.span and not residual.stem else 1
                shortcut = self.shortcut(f"{unit}.shortcut", residual, at.norm, start, x, bridged)
                x = start = self.add(f"{unit}.sum", "sum", (x, shortcut), x.channels)
                if late:
                    x = start = self.activation(f"{unit}.activation", at.activation, x)
        return x

    def unit(
        self, name: str, steps: Sequence[str], at: Level | tables.UpUnit, x: Map, width: int, stride: tables.Size
    ) -> Map:
        for step in steps:
            if step == "conv":
                conv = at if isinstance(at, tables.UpUnit) else at.conv
                dilation = 1 if isinstance(conv, tables.UpUnit) else conv.dilation
                x = self.convolution(
                    f"{name}.conv", x, width, conv.kernel, conv.padding, conv.bias, stride, dilation, conv.padding_mode
                )
            elif step == "norm":
                x = self.norm(f"{name}.norm", at.norm, x)
            elif step == "activation":
                x = self.activation(f"{name}.activation", at.activation, x)
            elif not isinstance(at, tables.UpUnit):
                x = self.add(f"{name}.dropout", "dropout", (x,), x.channels, at.dropout)
        return x

    def shortcut(
        self, name: str, residual: tables.Residual, norm: tables.Norm, start: Map, end: Map, stride: tables.Size
    ) -> Map:
        x = start
        if self.axes(stride) != self.axes(1) and residual.stride_by == "average_pool":
            pool = Pool(self.axes(stride), self.axes(stride), self.axes(0))
            x, stride = self.add(f"{name}.pool", "average_pool", (x,), x.channels, pool), 1
        if self.axes(stride) != self.axes(1) or x.channels != end.channels:
            x = self.convolution(
                f"{name}.conv", x, end.channels, residual.kernel, residual.padding, residual.bias, stride
            )
            if residual.norm:
                x = self.norm(f"{name}.norm", norm, x)
        return x

    def down(self, name: str, down: tables.Down, x: Map, width: int) -> Map:
        if isinstance(down, tables.NoDown):
            return x
        if isinstance(down, tables.DownConvolution):
            out = width if down.width == "next" else x.channels
            return self.convolution(name, x, out, down.kernel, down.padding, down.bias, down.stride)
        pool = Pool(self.axes(down.kernel), self.axes(down.stride), self.axes(down.padding))
        return self.add(name, down.kind, (x,), x.channels, pool)

    def up(self, node: str, up: tables.Up, x: Map, skip: Map, width: int) -> Map:
        name = f"{node}.up"

        def channels(wanted: str) -> int:
            if wanted == "half" and x.channels % 2:
                raise ValueError(f"up.width: got 'half', expected another one as {x.name} has {x.channels} channels")
            return {"half": x.channels // 2, "same": x.channels, "skip": skip.channels, "decoder": width}[wanted]

        if up.before is not None:
            x = self.unit(f"{node}.before_up", up.before.order, up.before, x, channels(up.before.width), 1)
        match up:  # `NoUp` has no layer
            case tables.TransposedConvolution():
                x = self.transposed_convolution(name, up, x, channels(up.width))
            case tables.Nearest() | tables.Linear():
                corners = isinstance(up, tables.Linear) and up.align_corners
                if up.scale == "skip":
                    x = self.add(name, up.kind, (x, skip), x.channels, Resize(None, corners))
                else:
                    x = self.add(name, up.kind, (x,), x.channels, Resize(self.axes(up.scale), corners))
            case tables.PixelShuffle():
                parts = up.scale**self.dimensions
                if x.channels % parts:
                    raise ValueError(
                        f"up.scale: got {up.scale}, expected {parts} to divide the {x.channels} channels before {name}"
                    )
                x = self.add(name, up.kind, (x,), x.channels // parts, up)
        if up.after is not None:
            x = self.unit(f"{node}.after_up", up.after.order, up.after, x, channels(up.after.width), 1)
        return x

    def merge(self, node: str, at: Level, skips: Sequence[Map], x: Map) -> Map:
        if at.merge.kind == "none":
            return x
        channels = [skip.channels for skip in skips] + [x.channels]
        if at.merge.kind == "sum" and len(set(channels)) > 1:
            raise ValueError(
                f"merge.kind: got 'sum' at level {self.level}, where the maps have "
                f"{' and '.join(map(str, channels))} channels; expected equal ones"
            )
        merged = x.channels if at.merge.kind == "sum" else sum(channels)
        return self.add(f"{node}.merge", "merge", (*skips, x), merged, at.merge)

    def attention(self, name: str, attention: tables.Attention, skip: Map, gate: Map) -> Map:
        if skip.channels % 2:
            raise ValueError(
                f"attention.width: got 'half', expected no attention as {skip.name} has {skip.channels} channels"
            )

        def branch(part: str, x: Map, width: int) -> Map:
            x = self.convolution(f"{name}.{part}.conv", x, width, 1, 0, attention.bias)
            return self.norm(f"{name}.{part}.norm", attention.norm, x)

        inner = skip.channels // 2
        x = self.add(f"{name}.sum", "sum", (branch("gate", gate, inner), branch("skip", skip, inner)), inner)
        x = self.activation(f"{name}.activation", tables.ReLU(kind="relu"), x)
        x = self.activation(f"{name}.psi.activation", tables.Sigmoid(kind="sigmoid"), branch("psi", x, 1))
        return self.add(f"{name}.multiply", "multiply", (skip, x), skip.channels)
