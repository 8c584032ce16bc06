"""The order of channels after a merge, where another implementation has the skip and the upsampled map swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import SpecError
from .layout import IMAGES

if TYPE_CHECKING:
    from .layout import Layer
    from .schema import UNetSpec

Order = np.ndarray
"""For each of our channels, the place that it has in the other implementation."""

BY_CHANNEL = (
    "batch_norm",
    "instance_norm",
    "layer_norm",
    "relu",
    "leaky_relu",
    "prelu",
    "elu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "identity",
    "dropout",
    "max_pool",
    "average_pool",
    "nearest",
    "linear",
)
"""Layers that treat every channel by itself, or all alike."""


def channel_orders(spec: UNetSpec, merge_order: tuple[str, ...] | None) -> dict[str, tuple[int, Order]]:
    """For each tensor whose channels stand in another order: the axis, and the order.

    Args:
        spec: the network.
        merge_order: of the other implementation, or None where it is the spec's.

    Raises:
        SpecError: where a layer mixes channels so that no order of its weights makes up for the merge's.
    """
    orders: dict[str, Order] = {}  # by map; those in the same order on both sides are left out
    found: dict[str, tuple[int, Order]] = {}
    for layer in spec.layers if merge_order is not None else ():
        if layer.kind == "merge" and layer.settings.kind == "concatenate":
            order = _merged(layer, spec, merge_order, orders)
            if order is not None:
                orders[layer.name] = order
        elif not any(name in orders for name in layer.inputs):
            continue
        elif layer.kind in ("conv", "transposed_conv"):
            axis = 1 if layer.kind == "conv" else 0
            found[layer.tensors[0].name] = (axis, orders[layer.inputs[0]])
        elif layer.kind in BY_CHANNEL:
            if layer.inputs[0] in orders:  # and not the map whose size alone counts
                orders[layer.name] = order = orders[layer.inputs[0]]
                found |= {tensor.name: (0, order) for tensor in layer.tensors if tensor.shape == order.shape}
        else:
            raise SpecError(
                f"{spec.name}: checkpoint.merge_order: {layer.name} is a {layer.kind} of merged channels, which no "
                "order of weights makes up for; give the merge the original's order"
            )
    for name in (spec.logits, *spec.deep_logits):
        if name in orders:
            raise SpecError(
                f"{spec.name}: checkpoint.merge_order: the logits, {name}, are merged channels, and the classes would "
                "stand in another order; give the merge the original's order"
            )
    return found


def _merged(
    layer: Layer, spec: UNetSpec, merge_order: tuple[str, ...] | None, orders: dict[str, Order]
) -> Order | None:
    """The places of a merge's channels in the other implementation, or None where they are the same."""
    channels = {IMAGES: spec.in_channels} | {other.name: other.out_channels for other in spec.layers}
    *skips, upsampled = layer.inputs
    ours = [*skips, upsampled] if layer.settings.order == ("skip", "upsampled") else [upsampled, *skips]
    theirs = [*skips, upsampled] if merge_order == ("skip", "upsampled") else [upsampled, *skips]
    starts = {name: sum(channels[before] for before in theirs[:place]) for place, name in enumerate(theirs)}
    order = np.concatenate([starts[name] + orders.get(name, np.arange(channels[name])) for name in ours])
    return None if (order == np.arange(order.size)).all() else order
