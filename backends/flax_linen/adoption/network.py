"""A user's own module as pure functions of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import jax
from flax import linen as nn
from flax import traverse_util
from flax.errors import ModifyScopeVariableError

from shared_specs import UNetSpec
from shared_specs.errors import one_line

from ...jax_engine.adoption import network as engine
from ...jax_engine.adoption.network import IN_EVALUATION, IN_TRAINING, is_float, is_layer, mode_arguments, told_mode
from ...jax_engine.adoption.pairing import Held, Path
from ...jax_engine.network import Arrays
from ...jax_engine.precision import Numerics
from ...trace import TraceError

PARAMETERS, INTERMEDIATES = "params", "intermediates"
"""The collections of what is trained, and of what `sow` and a capture leave behind."""


class PortNetwork(engine.PortNetwork):
    """A user's module, applied to variables that are made of its tensors anew in each call.

    Args:
        module: the user's, bound to its variables.
        spec: what it is to be.
        numerics: the arithmetic of the copy.
        names: canonical names of tensors, by their paths.
    """

    def __init__(self, module: nn.Module, spec: UNetSpec, numerics: Numerics, names: Mapping[Path, str]):
        super().__init__(type(module).__name__, spec, numerics, tensors(module), names)
        self.copied, _ = unbound(module)
        self.collections = list(dict.fromkeys(path[0] for path in self.names))
        self.call_options, self.fields = told_by(self.copied)
        if len(self.collections) > 1 and not self.call_options and not self.fields:
            others = ", ".join(name for name in self.collections if name != PARAMETERS)
            raise TraceError(
                f"{self.label} keeps {others}, and nothing tells it whether it is in training; expected an argument of "
                f"its call, or a field, that is named {', '.join(IN_TRAINING)}, {' or '.join(IN_EVALUATION)}"
            )
        layers = {layer.name: layer for layer in spec.layers}
        self.layers_at = {self.module_at(place): layers[name] for name, place in self.places_of_layers().items()}
        self.tensor_count = {place: sum(path[1:-1] == place for path in self.names) for place in self.layers_at}

    def module_at(self, place: Path) -> Path:
        return place[1:]  # without the collection

    def variables(self, arrays: Arrays) -> dict[str, Any]:
        """The collections of the module."""
        return traverse_util.unflatten_dict({path: arrays[name] for path, name in self.names.items()})

    def run(self, arrays: Arrays, images: jax.Array, training: bool) -> tuple[Any, Arrays]:
        # In evaluation nothing is mutable: some modules take their mode from that alone.
        mutable = [name for name in self.collections if name != PARAMETERS and training]
        returned, moved = self._apply(arrays, images, training, mutable=mutable)
        found = flattened(moved)
        return returned, {name: found.get(path, arrays[name]) for path, name in self.names.items()}

    def outputs(self, arrays: Arrays, images: jax.Array) -> Mapping[str, tuple[jax.Array, ...]]:
        def is_known(module: nn.Module, method: str) -> bool:
            layer = self.layers_at.get(module.path)
            return (
                layer is not None
                and method == "__call__"
                and is_layer(module, self.tensor_count[module.path], layer, "flax.linen")
            )

        _, captured = self._apply(arrays, images, False, mutable=[INTERMEDIATES], capture_intermediates=is_known)
        found = flattened(captured.get(INTERMEDIATES, {}))
        return {layer.name: found.get((*place, "__call__"), ()) for place, layer in self.layers_at.items()}

    def _apply(self, arrays: Arrays, images: jax.Array, training: bool, **how: Any) -> tuple[Any, dict[str, Any]]:
        module = self.copied.clone(**told_mode(self.fields, training))

        def apply(inputs: jax.Array, **options: bool) -> Any:
            try:
                with nn.intercept_methods(self._as_compared):
                    return module.apply(self.variables(arrays), inputs, **options, **how)
            except ModifyScopeVariableError as error:
                words = one_line(str(error)).partition(" (https://")[0]
                raise TraceError(
                    f"{self.label} changes its statistics in evaluation mode, so that its mode does not reach all of "
                    f"its layers; pass it on ({words})"
                ) from error

        return self.call(apply, images, **told_mode(self.call_options, training))

    def _as_compared(self, right: Callable[..., Any], inputs: Any, told: Any, context: Any) -> Any:
        """Every call of a module: without dropout, and in the arithmetic of the copy where it was given a dtype."""
        module = context.module
        if isinstance(module, nn.Dropout) and context.method_name == "__call__":
            return inputs[0] if inputs else told["inputs"]
        for name, dtype in (("dtype", self.numerics.dtype), ("param_dtype", self.numerics.param_dtype)):
            if is_float(getattr(module, name, None)):
                object.__setattr__(module, name, dtype)  # modules are frozen; this one was made for this call
        return right(*inputs, **told)


def unbound(module: nn.Module) -> tuple[Any, dict[str, Any]]:
    """A copy of a bound module and its variables. Raises TraceError where it is not bound."""
    if module.scope is None:
        raise TraceError(
            f"{type(module).__name__} is a module of Flax Linen without its variables; give it with them: "
            "module.bind(variables)"
        )
    copied, variables = module.unbind()
    return copied, {name: nn.unbox(held) for name, held in variables.items() if name != INTERMEDIATES}


def tensors(module: nn.Module) -> dict[Path, Held]:
    """Of a bound module, by path, the collection first."""
    found = flattened(unbound(module)[1])
    return {path: Held(values, path[0] == PARAMETERS) for path, values in found.items()}


def flattened(tree: Mapping[str, Any]) -> dict[Path, Any]:
    """What a tree of dictionaries holds, by path."""
    return dict(traverse_util.flatten_dict(tree))


def told_by(module: nn.Module) -> tuple[list[str], list[str]]:
    """By which arguments of its call a module is told its mode, and by which fields where the call has none.

    Linen has no mode: https://flax-linen.readthedocs.io (Batch normalization).
    """
    of_the_call, names = mode_arguments(module), (*IN_TRAINING, *IN_EVALUATION)
    return of_the_call, [] if of_the_call else [each.name for each in fields(module) if each.name in names]


def copy_in(module: Any, numerics: Numerics) -> Any:
    """A copy of a `UNet` that computes in this arithmetic."""
    copied, _ = unbound(module)
    return copied.clone(dtype=numerics.dtype, param_dtype=numerics.param_dtype, precision=numerics.precision)
