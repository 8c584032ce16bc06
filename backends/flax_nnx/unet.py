"""The U-Net as an ordinary flax.nnx.Module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from shared_specs import UNetSpec
from shared_specs.layout import IMAGES, Layer, schedule

from ..jax_engine.precision import Numerics
from . import layers, resampling

KINDS = layers.KINDS | resampling.KINDS

Step = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A layer in the loop: its name, the maps that it reads, and those that nothing needs afterwards."""


class UNet(nnx.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, H, W, C) or (N, D, H, W, C) to logits (N, H', W', classes). Attribute paths are the canonical
    names of the spec, so `encoder[0].block[1].conv` is a convolution.

    Args:
        spec: the network.
        dtype: of convolutions and maps.
        param_dtype: of parameters, norm statistics and what is summed up; `dtype` by default.
        precision: of matrix products and convolutions; None is JAX's default, which is TF32 on recent GPUs.
        rngs: for the initial parameters and dropout.
    """

    encoder: nnx.List[Any]

    def __init__(
        self,
        spec: UNetSpec,
        *,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike | None = None,
        precision: jax.lax.Precision | None = None,
        rngs: nnx.Rngs,
    ):
        numerics = Numerics(dtype, precision, dtype if param_dtype is None else param_dtype)
        hang(self, {layer.name: KINDS[layer.kind](layer, numerics, rngs) for layer in spec.layers})
        self._outputs = (spec.logits, *spec.deep_logits)
        self._inference = self._steps([layer for layer in spec.layers if not layer.is_deep])
        self._training = self._steps(spec.layers)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits."""
        return self._run(images, self._inference)[self._outputs[0]]

    def heads(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """The logits and those of the heads of deep supervision, in the order of `spec.loss_weights`."""
        maps = self._run(images, self._training)
        return tuple(maps[name] for name in self._outputs)

    def _steps(self, layers: Sequence[Layer]) -> tuple[Step, ...]:
        return tuple((layer.name, layer.inputs, done_with) for layer, done_with in schedule(layers, self._outputs))

    def _run(self, images: jax.Array, steps: tuple[Step, ...]) -> dict[str, jax.Array]:
        maps = {IMAGES: images}
        for name, inputs, done_with in steps:
            maps[name] = layer_at(self, name)(*[maps[source] for source in inputs])
            for finished in done_with:
                del maps[finished]
        return maps


class Branch(nnx.Module):
    """A part of the tree that holds layers and is none."""


def hang(tree: nnx.Module, layers: dict[str, nnx.Module]) -> nnx.Module:
    """The tree with layers put into it by dotted name."""
    for key, below in by_first_key(layers).items():
        setattr(tree, key, branch(below))
    return tree


def branch(layers: dict[str, nnx.Module]) -> nnx.Module:
    """A layer whose name has come to an end, a list where the next keys are numbers, else a module that holds more."""
    if "" in layers:
        return layers[""]
    places = by_first_key(layers)
    if not any(key.isdigit() for key in places):
        return hang(Branch(), layers)
    # Levels without layers leave gaps.
    return nnx.List(branch(places.get(str(place), {})) for place in range(1 + max(map(int, places))))


def by_first_key(layers: dict[str, nnx.Module]) -> dict[str, dict[str, nnx.Module]]:
    """Grouped by the name up to the first dot, each under the rest of its name."""
    groups: dict[str, dict[str, nnx.Module]] = {}
    for name, layer in layers.items():
        key, _, rest = name.partition(".")
        groups.setdefault(key, {})[rest] = layer
    return groups


def layer_at(tree: nnx.Module, name: str) -> Any:
    """The layer of this canonical name."""
    node: Any = tree
    for key in name.split("."):
        node = node[int(key)] if key.isdigit() else getattr(node, key)
    return node
