"""The U-Net as an ordinary flax.linen.Module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from shared_specs import UNetSpec
from shared_specs.layout import IMAGES, Layer, schedule

from ..jax_engine.precision import Numerics
from . import layers, resampling

KINDS = layers.KINDS | resampling.KINDS

Named = tuple[tuple[str, Layer], ...]
"""Layers, each under what is left of its name."""


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, H, W, C) or (N, D, H, W, C) to logits (N, H', W', classes). Paths of variables are the canonical
    names of the spec, so `variables["params"]["encoder"]["0"]["block"]["1"]["conv"]` is a convolution.

    Batch norm keeps its running statistics in the collection `batch_stats`, which `apply` returns where it is named
    `mutable`; dropout draws from the random numbers named `dropout`.

    Attributes:
        spec: the network.
        dtype: of convolutions and maps.
        param_dtype: of parameters, norm statistics and what is summed up; `dtype` by default.
        precision: of matrix products and convolutions; None is JAX's default, which is TF32 on recent GPUs.
    """

    spec: UNetSpec
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike | None = None
    precision: jax.lax.Precision | None = None

    def setup(self) -> None:
        numerics = Numerics(self.dtype, self.precision, self.dtype if self.param_dtype is None else self.param_dtype)
        hang(self, tuple((layer.name, layer) for layer in self.spec.layers), numerics)

    def __call__(self, images: jax.Array, *, train: bool = False, deterministic: bool | None = None) -> jax.Array:
        """The logits.

        Args:
            images: (N, H, W, C) or (N, D, H, W, C).
            train: whether batch norm takes the statistics of the batch, and moves those that it keeps.
            deterministic: whether dropout leaves all as it is; by default it does unless in training.
        """
        # Parameters come into being where layers are called, those of deep supervision too.
        ours = [layer for layer in self.spec.layers if self.is_initializing() or not layer.is_deep]
        return self._run(images, ours, train, deterministic)[self.spec.logits]

    def heads(
        self, images: jax.Array, *, train: bool = False, deterministic: bool | None = None
    ) -> tuple[jax.Array, ...]:
        """The logits and those of the heads of deep supervision, in the order of `spec.loss_weights`."""
        maps = self._run(images, self.spec.layers, train, deterministic)
        return tuple(maps[name] for name in self._outputs)

    @property
    def _outputs(self) -> tuple[str, ...]:
        return (self.spec.logits, *self.spec.deep_logits)

    def _run(
        self, images: jax.Array, layers: Sequence[Layer], train: bool, deterministic: bool | None
    ) -> dict[str, jax.Array]:
        modes = {
            "batch_norm": {"use_running_average": not train},
            "dropout": {"deterministic": not train if deterministic is None else deterministic},
        }
        maps = {IMAGES: images}
        for layer, done_with in schedule(layers, self._outputs):
            inputs = [maps[source] for source in layer.inputs]
            maps[layer.name] = layer_at(self, layer.name)(*inputs, **modes.get(layer.kind, {}))
            for finished in done_with:
                del maps[finished]
        return maps


class Branch(nn.Module):
    """A part of the tree that holds layers and is none."""

    layers: Named
    numerics: Numerics

    def setup(self) -> None:
        hang(self, self.layers, self.numerics)


def hang(tree: nn.Module, layers: Named, numerics: Numerics) -> None:
    """Put layers into the tree by dotted name, in its `setup`."""
    for key, below in by_first_key(layers).items():
        setattr(tree, key, branch(below, numerics))


def branch(layers: Named, numerics: Numerics) -> nn.Module:
    """A layer whose name has come to an end, else a module that holds more."""
    name, layer = layers[0]
    return Branch(layers, numerics) if name else KINDS[layer.kind](layer, numerics)


def by_first_key(layers: Named) -> dict[str, Named]:
    """Grouped by the name up to the first dot, each under the rest of its name."""
    groups: dict[str, Named] = {}
    for name, layer in layers:
        key, _, rest = name.partition(".")
        groups[key] = (*groups.get(key, ()), (rest, layer))
    return groups


def layer_at(tree: nn.Module, name: str) -> Any:
    """The layer of this canonical name."""
    node: Any = tree
    for key in name.split("."):
        node = getattr(node, key)
    return node
