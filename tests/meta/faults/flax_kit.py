"""The handles on a layer of the Flax NNX module, and what they share with those of Linen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from einops import rearrange

from .kits import Kit, Wrong


class JaxKit(Kit):
    """What is done with arrays."""

    channels, rows = -1, 1

    def cast(self, x: Any, dtype: str) -> Any:
        import jax

        # As it says, and not what a compiler may make of two conversions that undo each other.
        bits = {"float32": (8, 23), "tf32": (8, 10), "bfloat16": (8, 7)}
        return jax.lax.reduce_precision(x, *bits[dtype])

    def array(self, values: np.ndarray, like: Any) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(values, like.dtype)

    def join(self, parts: list[Any], axis: int) -> Any:
        import jax.numpy as jnp

        return jnp.concatenate(parts, axis)

    def flip(self, x: Any, axis: int) -> Any:
        import jax.numpy as jnp

        return jnp.flip(x, axis)

    def sqrt(self, x: Any) -> Any:
        import jax.numpy as jnp

        return jnp.sqrt(x)

    def scale_tensor_gradient(self, model: Any, tensor: str, factor: float) -> None:
        name = tensor.rpartition(".")[0]
        leaf = model.spec.tensor(tensor).leaf

        def wrong(kit: Kit, layer: Any, right: Any, *inputs: Any) -> Any:
            with kit.using(layer, leaf, lambda held: scaled(held, factor)):
                return right(*inputs)

        self.rewire(model, name, wrong)

    def scale_input_gradient(self, model: Any, layer: str, number: int, factor: float) -> None:
        def wrong(kit: Kit, layer: Any, right: Any, *inputs: Any) -> Any:
            return right(*inputs[:number], scaled(inputs[number], factor), *inputs[number + 1 :])

        self.rewire(model, layer, wrong)


class FlaxKit(JaxKit):
    def __init__(self) -> None:
        from backends.flax_nnx.weights import LEAVES

        self.leaves = LEAVES

    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        """The layer gets a class derived from its own: a model keeps classes, and makes its layers of them anew."""
        from flax import nnx

        from backends.flax_nnx.unet import layer_at

        kit, network = self, model.network
        module = nnx.merge(network.graph, network.abstract)
        layer = layer_at(module, name)
        own = type(layer)
        right = own.__call__

        def call(self: Any, *inputs: Any) -> Any:
            before = getattr(self, "use_running_average", None)

            def in_mode(*x: Any, training: bool | None = None) -> Any:
                if training is not None:
                    self.use_running_average = not training
                try:
                    return right(self, *x)
                finally:
                    if training is not None:
                        self.use_running_average = before

            return wrong(kit, self, in_mode, *inputs)

        object.__setattr__(layer, "__class__", type(f"Faulty{own.__name__}", (own,), {"__call__": call}))
        network.graph, network.abstract = nnx.split(module)

    def training(self, layer: Any) -> bool:
        return not layer.use_running_average

    def tensor(self, layer: Any, leaf: str) -> Any:
        return getattr(layer, self.leaves[leaf][0])[...]

    @contextmanager
    def using(self, layer: Any, leaf: str, change: Callable[[Any], Any]) -> Iterator[None]:
        key, pattern = self.leaves[leaf]
        before, after = pattern.split(" -> ")
        variable = getattr(layer, key)
        held = variable.get_value()
        variable.set_value(rearrange(change(rearrange(held, f"{after} -> {before}")), pattern))
        yield
        variable.set_value(held)

    def assign(self, layer: Any, leaf: str, values: Any) -> None:
        getattr(layer, self.leaves[leaf][0])[...] = values


def scaled(x: Any, factor: float) -> Any:
    """The value as it is, to the bit, with a gradient times the factor."""
    import jax

    value = jax.lax.stop_gradient(x)
    return value + factor * (x - value)
