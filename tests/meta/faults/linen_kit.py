"""The handles on a layer of the Linen module, which Linen's own interceptors give from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from einops import rearrange

from .flax_kit import JaxKit
from .kits import Wrong, mode


@dataclass(frozen=True)
class Called:
    """A layer while it is called: the bound module, and what it was told of the mode."""

    module: Any
    training: bool


class LinenKit(JaxKit):
    def __init__(self) -> None:
        from backends.flax_linen.weights import LEAVES

        self.leaves = LEAVES

    def rewire(self, model: Any, name: str, wrong: Wrong) -> None:
        """Whatever the network applies is intercepted: the call of the layer at this path computes something else."""
        from flax import linen as nn

        path, module = tuple(name.split(".")), model.network.module

        def intercept(right: Any, inputs: Any, told: dict[str, Any], context: Any) -> Any:
            if context.method_name != "__call__" or context.module.path != path:
                return right(*inputs, **told)
            given = not told.get("use_running_average", True)

            def in_mode(*x: Any, training: bool | None = None) -> Any:
                changed = {"use_running_average": not mode(training, given)} if "use_running_average" in told else {}
                # As Linen does it between two calls of a module, or else its names would be taken by the first.
                object.__setattr__(context.module, "scope", context.module.scope.rewound())
                return right(*x, **(told | changed))

            return wrong(self, Called(context.module, given), in_mode, *inputs)

        def apply(*arguments: Any, **options: Any) -> Any:
            with nn.intercept_methods(intercept):
                return module.apply(*arguments, **options)

        model.network.module = SimpleNamespace(apply=apply, init=module.init, bind=module.bind)

    def training(self, layer: Called) -> bool:
        return layer.training

    def tensor(self, layer: Called, leaf: str) -> Any:
        key, _ = self.leaves[leaf]
        return layer.module.get_variable("batch_stats" if "running" in leaf else "params", key)

    @contextmanager
    def using(self, layer: Called, leaf: str, change: Callable[[Any], Any]) -> Iterator[None]:
        """The layer asks for its tensors by name, and gets this one changed; what it writes to a statistic is lost."""
        key, pattern = self.leaves[leaf]
        before, after = pattern.split(" -> ")
        param, variable = layer.module.param, layer.module.variable

        def changed(held: Any) -> Any:
            return rearrange(change(rearrange(held, f"{after} -> {before}")), pattern)

        def wrong_param(name: str, *init: Any, **options: Any) -> Any:
            held = param(name, *init, **options)
            return changed(held) if name == key else held

        def wrong_variable(collection: str, name: str, *init: Any, **options: Any) -> Any:
            held = variable(collection, name, *init, **options)
            return SimpleNamespace(value=changed(held.value)) if name == key else held

        asked, wrong = ("variable", wrong_variable) if "running" in leaf else ("param", wrong_param)
        outer = vars(layer.module).get(asked)  # where another tensor is changed as well
        object.__setattr__(layer.module, asked, wrong)  # modules are frozen
        yield
        if outer is None:
            object.__delattr__(layer.module, asked)
        else:
            object.__setattr__(layer.module, asked, outer)

    def assign(self, layer: Called, leaf: str, values: Any) -> None:
        layer.module.put_variable("batch_stats", self.leaves[leaf][0], values)
