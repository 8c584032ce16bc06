"""A network as pure functions of its tensors: what moves comes in as an argument and goes out as a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from shared_specs import UNetSpec

from .layers import Conv, Numerics
from .unet import UNet
from .weights import native

Arrays = dict[str, jax.Array]
"""Tensors by canonical name, in Flax's layouts."""


class Network:
    """The module of a spec, merged with tensors anew in each call.

    Args:
        spec: the network.
        numerics: its arithmetic.
        module: one that was built from the spec, and has this arithmetic; a new one where it is None.
    """

    def __init__(self, spec: UNetSpec, numerics: Numerics, module: UNet | None = None):
        self.spec = spec
        if module is None:
            module = nnx.eval_shape(
                lambda: UNet(
                    spec,
                    dtype=numerics.dtype,
                    param_dtype=numerics.param_dtype,
                    precision=numerics.precision,
                    rngs=nnx.Rngs(0),
                )
            )
        self.graph, self.abstract = nnx.split(module)

    def module(self, parameters: Arrays, statistics: Arrays, training: bool) -> UNet:
        module = nnx.merge(self.graph, self.abstract, copy=True)
        for tensor in self.spec.tensors:
            held = parameters if tensor.trainable else statistics
            native(module, tensor).set_value(held[tensor.name])
        return in_mode(module, training)

    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        return self.module(parameters, statistics, training=False)(images)

    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        """Every layer's output by canonical name, those of the deep heads too."""
        module = self.module(parameters, statistics, training=False)
        _, captured = nnx.capture(module.heads, nnx.Intermediate, method_outputs=nnx.Intermediate)(images)
        flat = {".".join(map(str, path)): held.get_value() for path, held in nnx.to_flat_state(captured)}
        return {layer.name: flat[f"{layer.name}.__call__"][0] for layer in self.spec.layers}

    def loss(
        self, parameters: Arrays, images: jax.Array, statistics: Arrays, labels: list[jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, Arrays]]:
        """The loss, given labels for every head; beside it the logits and the statistics after the step."""
        module = self.module(parameters, statistics, training=True)
        heads = self.heads(module, images)
        losses = [cross_entropy(logits, classes) for logits, classes in zip(heads, labels, strict=True)]
        loss = sum(weight * loss for weight, loss in zip(self.spec.loss_weights, losses, strict=True))
        return jnp.asarray(loss), (heads[0], self.statistics(module, statistics))

    def heads(self, module: UNet, images: jax.Array) -> tuple[jax.Array, ...]:
        """The logits, and those of the heads of deep supervision."""
        return module.heads(images)

    def statistics(self, module: UNet, names: Iterable[str]) -> Arrays:
        """The statistics as they stand in a module."""
        return {name: native(module, self.spec.tensor(name)).get_value() for name in names}

    def parameter_count(self) -> int:
        parameters = nnx.state(nnx.merge(self.graph, self.abstract), nnx.Param)
        return sum(parameter.size for parameter in jax.tree.leaves(parameters))

    def flags(self) -> dict[str, str]:
        """The dtype and the precision of the convolutions, as the module has them."""
        module = nnx.merge(self.graph, self.abstract)
        convolutions = [node.numerics for _, node in nnx.iter_modules(module) if isinstance(node, Conv)]
        return {
            "precision": ", ".join({str(numerics.precision) for numerics in convolutions}),
            "computes_in": ", ".join({str(jnp.dtype(numerics.dtype)) for numerics in convolutions}),
        }


def in_mode(module: Any, training: bool) -> Any:
    """The module, in training or evaluation mode, without dropout: what is random cannot be compared."""
    module.set_attributes(use_running_average=not training, raise_if_not_found=False)
    module.set_attributes(deterministic=True, raise_if_not_found=False)
    return module


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over all pixels, in float32 at least.

    Written out, as optax's `softmax_cross_entropy_with_integer_labels` (0.2.8) picks the label's logit with a gather
    whose gradient XLA folds at compile time, in a time that grows with the pixels: 13 s for 2x64x96x32.
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    chosen = labels[..., None] == jnp.arange(wide.shape[-1])
    return (jax.nn.logsumexp(wide, axis=-1) - jnp.where(chosen, wide, 0).sum(-1)).mean()
