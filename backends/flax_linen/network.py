"""A network of Flax Linen as pure functions of its tensors: what moves is an argument and a result."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shared_specs import UNetSpec
from shared_specs.layout import Convolution, Layer, Tensor

from ..jax_engine import network as engine
from ..jax_engine.network import Arrays
from ..jax_engine.precision import Numerics
from . import weights
from .unet import UNet, layer_at
from .weights import at, native, put


class Network(engine.Network):
    """The module of a spec, applied to variables that are made of the tensors anew in each call.

    Args:
        spec: the network.
        numerics: its arithmetic.
        module: one that was built from the spec, and has this arithmetic; a new one where it is None.
    """

    def __init__(self, spec: UNetSpec, numerics: Numerics, module: UNet | None = None):
        super().__init__(spec, numerics)
        if module is None:
            module = UNet(spec, dtype=numerics.dtype, param_dtype=numerics.param_dtype, precision=numerics.precision)
        self.module = module
        self.paths = {tensor.name: native(tensor) for tensor in spec.tensors}

    def variables(self, parameters: Arrays, statistics: Arrays) -> dict[str, Any]:
        """The collections of the module."""
        variables: dict[str, Any] = {}
        for name, array in {**parameters, **statistics}.items():
            put(variables, self.paths[name], array)
        return variables

    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        logits = self.module.apply(self.variables(parameters, statistics), images)
        assert isinstance(logits, jax.Array)  # nothing is mutable, so nothing is returned beside it
        return logits

    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        variables = self.variables(parameters, statistics)
        _, captured = self.module.apply(
            variables, images, method="heads", capture_intermediates=True, mutable=["intermediates"]
        )
        outputs = captured["intermediates"]
        return {layer.name: at(outputs, (*layer.name.split("."), "__call__"))[0] for layer in self.spec.layers}

    def in_training(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Arrays]:
        variables = self.variables(parameters, statistics)
        heads, moved = self.module.apply(
            variables, images, method="heads", train=True, deterministic=True, mutable=["batch_stats"]
        )
        return heads, {name: at(moved, self.paths[name]) for name in statistics}

    def parameter_count(self) -> int:
        """Each layer is called by itself, as not every network takes square images, and some take few sizes."""

        def call_each(module: UNet) -> None:
            for layer in self.spec.layers:
                if layer.tensors:
                    mode = {"use_running_average": True} if layer.kind == "batch_norm" else {}
                    layer_at(module, layer.name)(jnp.zeros(large_enough_for(layer, self.spec.dimensions)), **mode)

        variables = jax.eval_shape(lambda key: self.module.init(key, method=call_each), jax.random.key(0))
        return sum(parameter.size for parameter in jax.tree.leaves(variables["params"]))

    def flags(self) -> dict[str, str]:
        """The dtype and the precision of the convolutions, as the module has them."""
        bound = self.module.bind({})
        convolutions = [layer_at(bound, layer.name).numerics for layer in self.spec.layers if layer.kind == "conv"]
        return {
            "precision": ", ".join({str(numerics.precision) for numerics in convolutions}),
            "computes_in": ", ".join({str(jnp.dtype(numerics.dtype)) for numerics in convolutions}),
        }

    def to_native(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        return weights.to_native(tensor, values)

    def to_canonical(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        return weights.to_canonical(tensor, values)


def large_enough_for(layer: Layer, dimensions: int) -> tuple[int, ...]:
    """The shape of a map that a layer can take, whatever the network makes of images."""
    side, how = 1, layer.settings
    if isinstance(how, Convolution):
        side += max(k * d + p for k, d, p in zip(how.kernel, how.dilation, how.padding, strict=True))
    return (1, *(side,) * dimensions, layer.in_channels)
