"""The backend: Equinox's module as pure functions of its tensors, for the engine that Tandem's JAX backends share."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np

from backends.jax_engine import network as engine
from backends.jax_engine.backend import JaxBackend
from backends.jax_engine.network import Arrays
from backends.jax_engine.precision import Numerics
from shared_specs import UNetSpec
from shared_specs.layout import Tensor

from .capabilities import CAPABILITIES
from .layers import AXIS
from .unet import UNet


class Network(engine.Network):
    channels = 1

    def __init__(self, spec: UNetSpec, numerics: Numerics):
        super().__init__(spec, numerics)
        make = eqx.nn.make_with_state(UNet)
        self.model, self.state = eqx.filter_eval_shape(lambda: make(spec, key=jax.random.key(0)))  # shapes alone
        self.trained = [tensor for tensor in spec.tensors if tensor.trainable]
        self.norms = [layer.name for layer in spec.layers if layer.kind == "batch_norm"]

    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        return self.maps(parameters, statistics, images)[0][self.spec.logits]

    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        return self.maps(parameters, statistics, images, deep=True)[0]

    def in_training(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Arrays]:
        maps, state = self.maps(parameters, statistics, images, deep=True, training=True)
        moved: Arrays = {}
        for name, (mean, variance) in zip(self.norms, self._statistics(state), strict=True):
            moved |= {f"{name}.running_mean": mean, f"{name}.running_var": variance}
        return tuple(maps[name] for name in (self.spec.logits, *self.spec.deep_logits)), moved

    def maps(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array, deep: bool = False, training: bool = False
    ) -> tuple[Arrays, eqx.nn.State]:
        """Every map of a batch, and the state afterwards, without dropout."""
        held = [parameters[tensor.name] for tensor in self.trained]
        model = eqx.tree_at(lambda model: [leaf_of(model, tensor) for tensor in self.trained], self.model, held)
        moving = [(statistics[f"{name}.running_mean"], statistics[f"{name}.running_var"]) for name in self.norms]
        state = eqx.tree_at(self._statistics, self.state, moving)
        run = partial(eqx.nn.inference_mode(model, not training).maps, deep=deep)
        with jax.default_matmul_precision(str(self.numerics.precision).lower()):
            return jax.vmap(run, in_axes=(0, None), out_axes=(0, None), axis_name=AXIS)(images, state)

    def _statistics(self, state: eqx.nn.State) -> list[Any]:
        return [state.get(self.model.layers[name].statistics) for name in self.norms]

    def parameter_count(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.model) if isinstance(leaf, jax.ShapeDtypeStruct))

    def flags(self) -> dict[str, str]:
        return {"precision": str(self.numerics.precision), "computes_in": np.dtype(self.numerics.dtype).name}

    def to_native(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """Equinox does not turn the kernel of a transposed convolution, and has biases and slopes beside a map."""
        if tensor.leaf == "up.weight":
            return np.flip(values, tuple(range(2, values.ndim))).swapaxes(0, 1)
        if tensor.leaf == "activation.weight" or (tensor.leaf.endswith(".bias") and tensor.leaf != "norm.bias"):
            return values.reshape(-1, *(1,) * self.spec.dimensions)
        return values

    def to_canonical(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        if tensor.leaf == "up.weight":
            return np.flip(values, tuple(range(2, values.ndim))).swapaxes(0, 1)
        return values.reshape(tensor.shape)


def leaf_of(model: UNet, tensor: Tensor) -> Any:
    """Where a module of Equinox holds a canonical tensor."""
    layer, _, leaf = tensor.name.rpartition(".")
    return getattr(model.layers[layer], "negative_slope" if tensor.leaf == "activation.weight" else leaf)


class Equinox(JaxBackend):
    name = "equinox"
    capabilities = CAPABILITIES
    packages = ("jax", "jaxlib", "equinox", "optax")

    def network(self, spec: UNetSpec, numerics: Numerics) -> Network:
        return Network(spec, numerics)
