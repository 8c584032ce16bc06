"""A user's own module as pure functions of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from shared_specs import UNetSpec

from ...jax_engine.adoption import network as engine
from ...jax_engine.adoption.network import dotted, is_float, is_layer, mode_arguments, told_mode
from ...jax_engine.adoption.pairing import Held, Path
from ...jax_engine.network import Arrays
from ...jax_engine.precision import Numerics
from ..network import in_mode


class PortNetwork(engine.PortNetwork):
    """A user's module, merged with tensors anew in each call.

    Its mode is set as `train()` and `eval()` set it, and told to those arguments of its call that are named after it.

    Args:
        module: the user's.
        spec: what it is to be.
        numerics: the arithmetic of the copy.
        names: canonical names of tensors, by their paths.
    """

    def __init__(self, module: nnx.Module, spec: UNetSpec, numerics: Numerics, names: Mapping[Path, str]):
        copied = copy_in(module, numerics)
        super().__init__(type(module).__name__, spec, numerics, tensors(copied), names)
        self.graph, self.all = nnx.graphdef(copied), dict(nnx.to_flat_state(nnx.state(copied)))
        self.mode_arguments = mode_arguments(copied)
        nodes, layers = dict(nnx.iter_modules(copied)), {layer.name: layer for layer in spec.layers}
        self.layers = {
            name: dotted(place)
            for name, place in self.places_of_layers().items()
            if place in nodes and is_layer(nodes[place], variable_count(nodes[place]), layers[name], "flax.nnx")
        }

    def module(self, arrays: Arrays, training: bool) -> Any:
        variables = {
            path: variable.replace(arrays[self.names[path]]) if path in self.names else variable
            for path, variable in self.all.items()
        }
        module = nnx.merge(self.graph, nnx.from_flat_state(variables), copy=True)
        return in_mode(module, training)

    def run(self, arrays: Arrays, images: jax.Array, training: bool) -> tuple[Any, Arrays]:
        module = self.module(arrays, training)
        returned = self.call(module, images, **told_mode(self.mode_arguments, training))
        return returned, {self.names[path]: variable.get_value() for path, variable in variables(module).items()}

    def outputs(self, arrays: Arrays, images: jax.Array) -> Mapping[str, tuple[jax.Array, ...]]:
        module = self.module(arrays, training=False)
        captures = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)
        _, captured = self.call(captures, images, **told_mode(self.mode_arguments, training=False))
        found = {dotted(path): held.get_value() for path, held in nnx.to_flat_state(captured)}
        return {layer: found.get(f"{place}.__call__", ()) for layer, place in self.layers.items()}


def tensors(module: nnx.Module) -> dict[Path, Held]:
    """Of a module, by path."""
    return {
        path: Held(variable.get_value(), isinstance(variable, nnx.Param))
        for path, variable in variables(module).items()
    }


def variables(module: nnx.Module) -> dict[Path, nnx.Variable]:
    """Of a module, by path, without the state of its random numbers."""
    found = nnx.to_flat_state(nnx.state(module))
    return {path: variable for path, variable in found if not isinstance(variable, nnx.RngState)}


def variable_count(node: nnx.Module) -> int:
    """Of those that a module holds itself."""
    return sum(isinstance(value, nnx.Variable) for value in vars(node).values())


def copy_in(module: Any, numerics: Numerics) -> Any:
    """A copy whose layers compute in this arithmetic: each floating `dtype` that a layer was given becomes this one.

    Its dropouts have rate 0, as a module's own code may tell each of them its mode.
    """
    copied = nnx.clone(module)
    for _, node in nnx.iter_modules(copied):
        own = vars(node)
        if isinstance(node, nnx.Dropout):
            node.rate = 0.0
        if isinstance(own.get("numerics"), Numerics):
            setattr(node, "numerics", numerics)  # noqa: B010 (not every module has it)
        for name, dtype in (("dtype", numerics.dtype), ("param_dtype", numerics.param_dtype)):
            if is_float(own.get(name)):
                setattr(node, name, dtype)
    return copied
