"""A network of Flax NNX as pure functions of its tensors: what moves is an argument and a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.layout import Tensor

from ..jax_engine import network as engine
from ..jax_engine.network import Arrays
from ..jax_engine.precision import Numerics
from . import weights
from .layers import Conv
from .unet import UNet
from .weights import native


class Network(engine.Network):
    """The module of a spec, merged with tensors anew in each call.

    Args:
        spec: the network.
        numerics: its arithmetic.
        module: one that was built from the spec, and has this arithmetic; a new one where it is None.
    """

    def __init__(self, spec: UNetSpec, numerics: Numerics, module: UNet | None = None):
        super().__init__(spec, numerics)
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
        module = self.module(parameters, statistics, training=False)
        _, captured = nnx.capture(module.heads, nnx.Intermediate, method_outputs=nnx.Intermediate)(images)
        flat = {".".join(map(str, path)): held.get_value() for path, held in nnx.to_flat_state(captured)}
        return {layer.name: flat[f"{layer.name}.__call__"][0] for layer in self.spec.layers}

    def in_training(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Arrays]:
        module = self.module(parameters, statistics, training=True)
        heads = self.heads(module, images)
        return heads, self.statistics(module, statistics)

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

    def to_native(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        return weights.to_native(tensor, values)

    def to_canonical(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        return weights.to_canonical(tensor, values)


def in_mode(module: Any, training: bool) -> Any:
    """The module, in training or evaluation mode, without dropout: what is random cannot be compared."""
    module.set_attributes(use_running_average=not training, raise_if_not_found=False)
    module.set_attributes(deterministic=True, raise_if_not_found=False)
    return module
