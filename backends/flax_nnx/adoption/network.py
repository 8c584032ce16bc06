"""A user's own module as pure functions of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from shared_specs import UNetSpec
from shared_specs.errors import one_line
from shared_specs.layout import Layer
from shared_specs.shapes import feature_shapes

from ...jax_engine.network import Arrays
from ...jax_engine.precision import Numerics
from ...trace import TraceError
from ..network import Network, in_mode
from .pairing import Path


class PortNetwork(Network):
    """A user's module as pure functions of its tensors, known ones by their canonical names.

    Args:
        module: the user's.
        spec: what it is to be.
        numerics: the arithmetic of the copy.
        names: canonical names of tensors, by their paths.

    Attributes:
        first: all tensors as they are in the user's module.
        trained: the names of those that are trained.
    """

    def __init__(self, module: nnx.Module, spec: UNetSpec, numerics: Numerics, names: Mapping[Path, str]):
        self.spec, self.numerics, self.label = spec, numerics, type(module).__name__
        copied = copy_in(module, numerics)
        self.graph, self.all = nnx.graphdef(copied), dict(nnx.to_flat_state(nnx.state(copied)))
        held = variables(copied)
        self.names = {path: names.get(path, f"own {dotted(path)}") for path in held}
        self.trained = {self.names[path] for path, variable in held.items() if isinstance(variable, nnx.Param)}
        self.first: Arrays = {self.names[path]: self._wide(variable.get_value()) for path, variable in held.items()}
        nodes = dict(nnx.iter_modules(copied))
        places = {name: path[:-1] for path, name in names.items()}
        self.layers = {
            layer.name: dotted(place)
            for layer in spec.layers
            for place in {places.get(tensor.name) for tensor in layer.tensors[:1]}
            if place in nodes and is_layer(nodes[place], layer)
        }

    def _wide(self, array: jax.Array) -> jax.Array:
        return array.astype(self.numerics.param_dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

    def module(self, parameters: Arrays, statistics: Arrays, training: bool) -> Any:
        held = {**parameters, **statistics}
        variables = {
            path: variable.replace(held[self.names[path]]) if path in self.names else variable
            for path, variable in self.all.items()
        }
        module = nnx.merge(self.graph, nnx.from_flat_state(variables), copy=True)
        return in_mode(module, training)

    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        return self.heads(self.module(parameters, statistics, training=False), images)[0]

    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        """The outputs of known layers that run once, where they have the shape that the spec says."""
        module = self.module(parameters, statistics, training=False)
        _, captured = self._run(nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate), images)
        found = {dotted(path): held.get_value() for path, held in nnx.to_flat_state(captured)}
        outputs = {layer: found.get(f"{place}.__call__", ()) for layer, place in self.layers.items()}
        count, *sides, channels = images.shape
        shapes = feature_shapes(self.spec, (count, channels, *sides))
        return {
            layer: output[0]
            for layer, output in outputs.items()
            if len(output) == 1 and jnp.moveaxis(output[0], -1, 1).shape == shapes[layer]
        }

    def heads(self, module: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        outputs = tuple(flat(self._run(module, images)))
        count = 1 + len(self.spec.deep_logits)
        if len(outputs) < count:
            raise TraceError(f"{self.label} returned {len(outputs)} arrays, expected {count} for {self.spec.name}")
        wanted = jnp.dtype(self.numerics.dtype)
        if outputs[0].dtype != wanted:
            raise TraceError(
                f"{self.label} returns {outputs[0].dtype} where its tensors and images are {wanted}: it fixes a dtype "
                f"on its way; leave that to its tensors, or compare in {outputs[0].dtype}"
            )
        return outputs[:count]

    def _run(self, module: Callable[[jax.Array], Any], images: jax.Array) -> Any:
        try:
            return module(images)
        except Exception as error:  # the user's own code may fail in any way
            shape, words = "x".join(map(str, images.shape)), one_line(str(error))[:300]
            raise TraceError(
                f"{self.label} fails on images {shape}, channels last ({type(error).__name__}: {words})"
            ) from error

    def statistics(self, module: Any, names: Iterable[str]) -> Arrays:
        wanted, held = set(names), variables(module)
        return {name: held[path].get_value() for path, name in self.names.items() if name in wanted}

    def parameter_count(self) -> int:
        return sum(self.first[name].size for name in self.trained)

    def flags(self) -> dict[str, str]:
        return {}


def variables(module: nnx.Module) -> dict[Path, nnx.Variable]:
    """Of a module, by path, without the state of its random numbers."""
    found = nnx.to_flat_state(nnx.state(module))
    return {path: variable for path, variable in found if not isinstance(variable, nnx.RngState)}


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def is_layer(node: nnx.Module, layer: Layer) -> bool:
    """Whether a node that holds a layer's first tensor computes that layer: one of Flax's own, with as many tensors.

    A class of the user's may compute more than one layer, or leave the bias to another.
    """
    held = [value for value in vars(node).values() if isinstance(value, nnx.Variable)]
    return type(node).__module__.startswith("flax.nnx") and len(held) == len(layer.tensors)


def copy_in(module: Any, numerics: Numerics) -> Any:
    """A copy whose layers compute in this arithmetic: each floating `dtype` that a layer was given becomes this one."""
    copied = nnx.clone(module)
    for _, node in nnx.iter_modules(copied):
        own = vars(node)
        if isinstance(own.get("numerics"), Numerics):
            setattr(node, "numerics", numerics)  # noqa: B010 (not every module has it)
        for name, dtype in (("dtype", numerics.dtype), ("param_dtype", numerics.param_dtype)):
            if _is_float(own.get(name)):
                setattr(node, name, dtype)
    return copied


def _is_float(value: Any) -> bool:
    if value is None:
        return False
    try:
        return jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:  # a module may call anything its dtype
        return False


def flat(returned: Any) -> Iterator[jax.Array]:
    """The arrays in what a module returned; the first of a tuple, a list or a dict are the logits."""
    if isinstance(returned, jax.Array):
        yield returned
    elif isinstance(returned, Mapping):
        yield from flat(list(returned.values()))
    elif isinstance(returned, list | tuple):
        for part in returned:
            yield from flat(part)
