"""A user's own module as pure functions of its tensors."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from shared_specs import UNetSpec
from shared_specs.errors import one_line
from shared_specs.layout import Layer
from shared_specs.shapes import feature_shapes

from ...trace import TraceError
from ..network import Arrays, Network
from ..precision import Numerics
from .pairing import Held, Path

IN_TRAINING, IN_EVALUATION = ("train", "training", "is_training"), ("deterministic", "use_running_average")
"""How a module calls the mode that it is told, as an argument of its call or as a field: what is true in training, and
what is true in evaluation."""


class PortNetwork(Network):
    """A user's module as pure functions of its tensors, known ones by their canonical names.

    Args:
        label: what the module's class is called.
        spec: what it is to be.
        numerics: the arithmetic of the copy.
        held: the module's tensors by path.
        names: canonical names of tensors, by their paths.

    Attributes:
        names: of all tensors by path, those that are not known by names of their own.
        first: all tensors as they are in the user's module.
        trained: the names of those that are trained.
    """

    def __init__(
        self, label: str, spec: UNetSpec, numerics: Numerics, held: Mapping[Path, Held], names: Mapping[Path, str]
    ):
        super().__init__(spec, numerics)
        self.label = label
        self.names = {path: names.get(path, f"own {dotted(path)}") for path in held}
        self.trained = {self.names[path] for path, tensor in held.items() if tensor.is_trained}
        self.first: Arrays = {self.names[path]: self._wide(jnp.asarray(tensor.values)) for path, tensor in held.items()}
        self._known = names

    def _wide(self, array: jax.Array) -> jax.Array:
        return array.astype(self.numerics.param_dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

    @abstractmethod
    def run(self, arrays: Arrays, images: jax.Array, training: bool) -> tuple[Any, Arrays]:
        """What the module returns for its tensors, all of them, and its tensors afterwards."""

    @abstractmethod
    def outputs(self, arrays: Arrays, images: jax.Array) -> Mapping[str, tuple[jax.Array, ...]]:
        """What known layers gave in evaluation mode, by canonical name: once for each time that they ran."""

    def logits(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> jax.Array:
        return self.heads(self.run({**parameters, **statistics}, images, training=False)[0])[0]

    def captured(self, parameters: Arrays, statistics: Arrays, images: jax.Array) -> Arrays:
        """The outputs of known layers that run once, where they have the shape that the spec says."""
        outputs = self.outputs({**parameters, **statistics}, images)
        count, *sides, channels = images.shape
        shapes = feature_shapes(self.spec, (count, channels, *sides))
        return {
            layer: output[0]
            for layer, output in outputs.items()
            if len(output) == 1 and jnp.moveaxis(output[0], -1, 1).shape == shapes[layer]
        }

    def in_training(
        self, parameters: Arrays, statistics: Arrays, images: jax.Array
    ) -> tuple[tuple[jax.Array, ...], Arrays]:
        returned, held = self.run({**parameters, **statistics}, images, training=True)
        return self.heads(returned), {name: held[name] for name in statistics}

    def heads(self, returned: Any) -> tuple[jax.Array, ...]:
        """The logits, and those of the heads of deep supervision, of what a module returned."""
        outputs = tuple(flat(returned))
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

    def places_of_layers(self) -> dict[str, Path]:
        """Where the first tensor of each layer lies, if that is known."""
        places = {name: path[:-1] for path, name in self._known.items()}
        firsts = {layer.name: layer.tensors[0].name for layer in self.spec.layers if layer.tensors}
        return {layer: places[tensor] for layer, tensor in firsts.items() if tensor in places}

    def own_names(self) -> dict[str, str]:
        """What the module calls known layers and tensors, by canonical name."""
        tensors = {name: dotted(path) for path, name in self._known.items()}
        return tensors | {layer: dotted(self.module_at(place)) for layer, place in self.places_of_layers().items()}

    def module_at(self, place: Path) -> Path:
        """The path of the module whose tensors have paths that begin so."""
        return place

    def call(self, function: Callable[..., Any], images: jax.Array, **options: Any) -> Any:
        """Run the user's own code, which may fail in any way. Raises TraceError."""
        try:
            return function(images, **options)
        except TraceError:
            raise
        except Exception as error:
            shape, words = "x".join(map(str, images.shape)), one_line(str(error))[:300]
            raise TraceError(
                f"{self.label} fails on images {shape}, channels last ({type(error).__name__}: {words})"
                f"{_advice(function, images, options, error)}"
            ) from error

    def parameter_count(self) -> int:
        return sum(self.first[name].size for name in self.trained)

    def flags(self) -> dict[str, str]:
        return {}


def _advice(function: Callable[..., Any], images: jax.Array, options: Mapping[str, Any], error: Exception) -> str:
    """How to wrap a module that takes something else than images with channels last; "" where that is not it."""
    if isinstance(error, TypeError) and "required" in str(error) and "argument" in str(error):
        return "; where it takes more than images, wrap it in a module that gives it the rest"
    try:
        function(jnp.moveaxis(images, -1, 1), **options)
    except Exception:  # the user's own code: it fails either way
        return ""
    return "; it takes channels first: wrap it in a module that moves them, and those of its logits back"


def mode_arguments(module: object) -> list[str]:
    """The arguments of a module's call by which it is told its mode."""
    arguments = inspect.signature(type(module).__call__).parameters
    return [name for name in (*IN_TRAINING, *IN_EVALUATION) if name in arguments]


def told_mode(names: Iterable[str], training: bool) -> dict[str, bool]:
    """The value of each of these names in training or in evaluation mode."""
    return {name: (name in IN_TRAINING) == training for name in names}


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def is_layer(node: object, tensors: int, layer: Layer, library: str) -> bool:
    """Whether a module that holds a layer's first tensor computes that layer: one of the library's own, with as many
    tensors.

    A class of the user's may compute more than one layer, or leave the bias to another.
    """
    return type(node).__module__.startswith(library) and tensors == len(layer.tensors)


def is_float(value: Any) -> bool:
    """Whether something that a module calls a dtype is a floating one."""
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
