"""What the engine asks of a network: pure functions of its tensors. What moves is an argument and a result."""

from __future__ import annotations

from abc import ABC, abstractmethod

import jax
import jax.numpy as jnp
import numpy as np

from shared_specs import UNetSpec
from shared_specs.layout import Tensor

from .precision import Numerics

Arrays = dict[str, jax.Array]
"""Tensors by canonical name, in the network's own layouts."""


class Network(ABC):
    """The module of a spec, merged with tensors anew in each call.

    Images, logits and maps are (N, H, W, C) or (N, D, H, W, C), unless `channels` says another axis.

    Args:
        spec: the network.
        numerics: its arithmetic.

    Attributes:
        channels: the axis of the channels in maps, -1 or 1.
    """

    channels: int = -1

    def __init__(self, spec: UNetSpec, numerics: Numerics):
        self.spec, self.numerics = spec, numerics

    @abstractmethod
    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        """In evaluation mode."""

    @abstractmethod
    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        """Every layer's output by canonical name, in evaluation mode, those of the deep heads too."""

    @abstractmethod
    def in_training(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Arrays]:
        """The logits of every head in training mode but without dropout, which is random, and the statistics then.

        The heads are in the order of `spec.loss_weights`.
        """

    @abstractmethod
    def parameter_count(self) -> int:
        """Of trainable parameters, counted in the module."""

    @abstractmethod
    def flags(self) -> dict[str, str]:
        """What the module says of its arithmetic."""

    def to_native(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """A canonical tensor as the network lays it out; a view. By default the layouts are the canonical ones."""
        return values

    def to_canonical(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """The way back."""
        return values

    def loss(
        self, parameters: Arrays, images: jax.Array, statistics: Arrays, labels: list[jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, Arrays]]:
        """The loss, given labels for every head; beside it the logits and the statistics after the step."""
        heads, moved = self.in_training(parameters, statistics, images)
        losses = [cross_entropy(logits, classes, self.channels) for logits, classes in zip(heads, labels, strict=True)]
        loss = sum(weight * loss for weight, loss in zip(self.spec.loss_weights, losses, strict=True))
        return jnp.asarray(loss), (heads[0], moved)


def cross_entropy(logits: jax.Array, labels: jax.Array, channels: int = -1) -> jax.Array:
    """The mean over all pixels, in float32 at least. A single logit is that of class 1, beside a 0 for class 0.

    Written out, as optax's `softmax_cross_entropy_with_integer_labels` (0.2.8) picks the label's logit with a gather
    whose gradient XLA folds at compile time, in a time that grows with the pixels: 13 s for 2x64x96x32.
    """
    wide = jnp.moveaxis(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), channels, -1)
    if wide.shape[-1] == 1:
        wide = jnp.concatenate([jnp.zeros_like(wide), wide], -1)
    chosen = labels[..., None] == jnp.arange(wide.shape[-1])
    return (jax.nn.logsumexp(wide, axis=-1) - jnp.where(chosen, wide, 0).sum(-1)).mean()
