"""Backends that break one rule each: the NumPy reference with a fault, for the conformance suite to find."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backends.contract import BackendError, CompileReport, Execution
from backends.numpy_reference.model import CAPABILITIES, NumPyModel, NumPyReference
from backends.numpy_reference.weights import native, to_native
from shared_specs import Recipe

NAME = "stand_in"


class StandIn(NumPyReference):
    """The reference under another name: it conforms. Each subclass breaks something."""

    name = NAME
    model: type[NumPyModel] = NumPyModel

    def build(self, spec: Any, execution: Execution = Execution(precision="float64"), recipe: Any = Recipe()) -> Any:
        self.check_execution(execution)
        return self.model(spec, execution, recipe)


class NoBackend:
    name = NAME


class AnotherName(StandIn):
    name = "another"


class UnknownPrecision(StandIn):
    capabilities = replace(CAPABILITIES, precisions=("float64", "float8"))


class NotAsItWasAsked(StandIn):
    """Whose models are of another execution than they were asked for."""

    def build(self, spec: Any, execution: Any = None, recipe: Any = Recipe()) -> Any:
        return NumPyModel(spec, Execution(precision="float64", tuning="tuned"), recipe)


class HeldInFloat32(StandIn):
    class model(NumPyModel):
        def load_weights(self, weights: Any) -> None:
            super().load_weights({name: np.float32(values) for name, values in weights.items()})


class TakesWhatFits(StandIn):
    class model(NumPyModel):
        def load_weights(self, weights: Any) -> None:
            own = {tensor.name: tensor.shape for tensor in self.spec.tensors}
            fits = {name: values for name, values in weights.items() if own.get(name) == np.shape(values)}
            super().load_weights({name: fits[name] if name in fits else self.read_tensor(name) for name in own})


class CountsStatistics(StandIn):
    class model(NumPyModel):
        def parameter_count(self) -> int:
            return sum(tensor.size for tensor in self.spec.tensors)


class TakesAnyImages(StandIn):
    class model(NumPyModel):
        def check_images(self, images: Any) -> None:
            """Does not look at them."""


class WrongEpsilon(StandIn):
    class model(NumPyModel):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            layer = self.module.layers.get("encoder.1.block.0.norm")
            if layer is not None and self.spec.norm.kind == "batch":
                layer.settings = layer.settings.model_copy(update={"epsilon": 1.0001e-5})


class OutOfOrder(StandIn):
    class model(NumPyModel):
        def activations(self, images: Any) -> Any:
            return dict(reversed(super().activations(images).items()))


class MovesInEvaluation(StandIn):
    class model(NumPyModel):
        def forward(self, images: Any) -> Any:
            logits = super().forward(images)
            self.module.layers["head"].tensors["bias"] += 1e-9
            return logits


class SharesWeights(StandIn):
    class model(NumPyModel):
        def load_weights(self, weights: Any) -> None:
            super().load_weights(weights)
            for tensor in self.spec.tensors:
                layer, leaf = native(self.module, tensor)
                layer.tensors[leaf] = to_native(tensor, np.asarray(weights[tensor.name]))


class TwiceTheGradient(StandIn):
    class model(NumPyModel):
        def loss_and_gradients(self, images: Any, labels: Any) -> Any:
            result = super().loss_and_gradients(images, labels)
            result.gradients["head.bias"] *= 2
            return result


class WrongMomentum(StandIn):
    class model(NumPyModel):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            for name, layer in self.module.layers.items():
                if name.endswith(".norm") and self.spec.norm.kind == "batch":
                    layer.settings = layer.settings.model_copy(update={"momentum": 0.1001})


class NoWeightDecay(StandIn):
    class model(NumPyModel):
        def __init__(self, spec: Any, execution: Any, recipe: Any):
            optimizer = recipe.optimizer.model_copy(update={"weight_decay": 0.0})
            super().__init__(spec, execution, recipe.model_copy(update={"optimizer": optimizer}))


class KeepsItsOptimizer(StandIn):
    class model(NumPyModel):
        def load_weights(self, weights: Any) -> None:
            before = getattr(self, "optimizer", None)
            super().load_weights(weights)
            if before is not None and before.step_count % 2 == 0:  # the parity probes train for three steps
                self.optimizer = before


class SharesGradients(StandIn):
    class model(NumPyModel):
        def loss_and_gradients(self, images: Any, labels: Any) -> Any:
            result = super().loss_and_gradients(images, labels)
            shared = {}
            for name in result.gradients:
                layer, leaf = native(self.module, self.spec.tensor(name))
                shared[name] = layer.gradients[leaf] if name == "head.bias" else result.gradients[name]
            return replace(result, gradients=shared)

        def train_step(self, images: Any, labels: Any) -> Any:
            result = self.loss_and_gradients(images, labels)
            self.optimizer.step(self.module)
            bias = self.module.layers["head"].tensors
            result.gradients["head.bias"] = bias["bias"] = bias["bias"].copy()
            return result


class OneLogitIsOneClass(StandIn):
    """Whose cross-entropy of a single logit is that of a single class: zero, whatever the network computes."""

    class model(NumPyModel):
        def loss_and_gradients(self, images: Any, labels: Any) -> Any:
            result = super().loss_and_gradients(images, labels)
            return replace(result, loss=0.0) if self.spec.out_channels == 1 else result


class WithoutLayerNorm(StandIn):
    def build(self, spec: Any, execution: Any = Execution(precision="float64"), recipe: Any = Recipe()) -> Any:
        if any(layer.kind == "layer_norm" for layer in spec.layers):
            raise BackendError(f"{self.name} has no layer_norm, which {spec.name} has")
        return super().build(spec, execution, recipe)


class SaysItTrains(StandIn):
    """Whose program of a step leaves the weights as they are."""

    class model(NumPyModel):
        def program(self, phase: str, images: Any, labels: Any = None) -> Any:
            return super().program("forward_backward" if phase == "train_step" else phase, images, labels)


class SaysItOnlyInfers(StandIn):
    capabilities = replace(CAPABILITIES, phases=("forward",), note="inference only")

    class model(NumPyModel):
        phases = ("forward",)


class CompilesAgain(StandIn):
    class model(NumPyModel):
        calls = 0

        def fetch(self, outputs: Any) -> Any:
            return super().fetch(outputs)

        def train_step(self, images: Any, labels: Any) -> Any:
            self.calls += 1
            return super().train_step(images, labels)

        def compile_report(self) -> CompileReport:
            return CompileReport(compilations=self.calls)


class TuningsAreTheSame(StandIn):
    capabilities = replace(CAPABILITIES, tunings=("default", "tuned"))


class SaysFloat32(StandIn):
    """Which takes float32 and computes in float64."""

    capabilities = replace(CAPABILITIES, precisions=("float64", "float32"))


class BuildsAnything(StandIn):
    def check_execution(self, execution: Any) -> None:
        """Does not look at it."""
