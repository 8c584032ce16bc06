"""Single layers on their way into a network: each method adds one and returns the map that comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import tables
from .layout import Axes, Convolution, Layer, Tensor
from .unit_tables import by_axis


@dataclass(frozen=True)
class Map:
    """A map on its way through the network: the layer that made it, and its channels."""

    name: str
    channels: int


class Builder:
    """Collects the layers in the order of execution. `stage` and `level` say where the next one stands."""

    stage: str
    level: int

    def __init__(self, dimensions: int):
        self.dimensions = dimensions
        self.layers: list[Layer] = []

    def convolution(
        self,
        name: str,
        x: Map,
        width: int,
        kernel: tables.Size,
        padding: tables.Margin,
        bias: bool,
        stride: tables.Size = 1,
        dilation: tables.Size = 1,
        padding_mode: str = "zeros",
        leaf: str = "conv",
    ) -> Map:
        settings = Convolution(
            self.axes(kernel),
            self.axes(stride),
            self.axes(padding),
            padding_mode,
            self.axes(dilation),
            self.axes(0),
            bias,
        )
        tensors = _weights(name, leaf, (width, x.channels, *settings.kernel), width, bias)
        return self.add(name, "conv", (x,), width, settings, tensors)

    def transposed_convolution(self, name: str, up: tables.TransposedConvolution, x: Map, width: int) -> Map:
        settings = Convolution(
            self.axes(up.kernel),
            self.axes(up.stride),
            self.axes(up.padding),
            "zeros",
            self.axes(1),
            self.axes(up.output_padding),
            up.bias,
        )
        tensors = _weights(name, "up", (x.channels, width, *settings.kernel), width, up.bias)
        return self.add(name, up.kind, (x,), width, settings, tensors)

    def norm(self, name: str, norm: tables.Norm, x: Map) -> Map:
        if isinstance(norm, tables.NoNorm):
            return x
        if isinstance(norm, tables.GroupNorm):
            norm = norm.of(x.channels)
            if x.channels % norm.groups:
                fewer = "" if x.channels > norm.groups else ", or norm.fewer_channels = 'one_group'"
                raise ValueError(
                    f"norm.groups: got {norm.groups}, expected a divisor of the {x.channels} channels of {name}{fewer}"
                )
        leaves = {} if isinstance(norm, tables.InstanceNorm) and not norm.affine else {"weight": True, "bias": True}
        if isinstance(norm, tables.BatchNorm):
            leaves |= {"running_mean": False, "running_var": False}
        tensors = [Tensor(f"{name}.{leaf}", f"norm.{leaf}", (x.channels,), train) for leaf, train in leaves.items()]
        return self.add(name, f"{norm.kind}_norm", (x,), x.channels, norm, tuple(tensors))

    def activation(self, name: str, activation: tables.Activation, x: Map) -> Map:
        tensors: tuple[Tensor, ...] = ()
        if isinstance(activation, tables.PReLU):
            slopes = 1 if activation.slopes == "one" else x.channels
            tensors = (Tensor(f"{name}.weight", "activation.weight", (slopes,)),)
        return self.add(name, activation.kind, (x,), x.channels, activation, tensors)

    def add(
        self,
        name: str,
        kind: str,
        inputs: tuple[Map, ...],
        channels: int,
        settings: Any = None,
        tensors: tuple[Tensor, ...] = (),
    ) -> Map:
        names = tuple(x.name for x in inputs)
        into = inputs[-1].channels if kind == "merge" else inputs[0].channels
        self.layers.append(Layer(name, kind, self.stage, self.level, names, into, channels, settings, tensors))
        return Map(name, channels)

    def axes(self, value: tables.Size | tables.Margin) -> Axes:
        return by_axis(value, self.dimensions)


def _weights(name: str, leaf: str, shape: tuple[int, ...], width: int, bias: bool) -> tuple[Tensor, ...]:
    weight = Tensor(f"{name}.weight", f"{leaf}.weight", shape)
    return (weight, Tensor(f"{name}.bias", f"{leaf}.bias", (width,))) if bias else (weight,)
