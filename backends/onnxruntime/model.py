"""The ONNX Runtime backend: how the graph is made, fed and read. It has no training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.layout import IMAGES
from shared_specs.shapes import Shape, smallest_input
from shared_specs.weights import Weights, check_weights

from ..contract import Backend, BackendError, CompileReport, Execution, Model, StepResult, check_phase
from .capabilities import CAPABILITIES
from .export import export_graph, logits_alone
from .session import PROVIDERS, effective_precision, flags, index_of, layer_in, new_session
from .tunings import tuning_of
from .weights import initializers, load_weights, read_tensor


class OnnxRuntime(Backend):
    name = "onnxruntime"
    capabilities = CAPABILITIES

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> OnnxModel:
        self.check_execution(execution)
        return OnnxModel(spec, execution, recipe)

    def knobs(self, execution: Execution) -> dict[str, str]:
        tuning = tuning_of(execution)
        return {name: str(value) for name, value in (asdict(tuning) | {"threads": tuning.threads}).items()}

    def devices(self) -> list[str]:
        has_cuda = PROVIDERS["cuda"] in ort.get_available_providers()
        return ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count() if has_cuda else 0)]

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": ort.__version__, "onnx": onnx.__version__, "torch": str(torch.__version__)}


class OnnxModel(Model):
    """A graph is exported for each shape of images when that is first seen; its weights can be replaced after."""

    phases = CAPABILITIES.phases

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        self.tuning = tuning_of(execution)
        self._graphs: dict[Shape, onnx.ModelProto] = {}
        self._sessions: dict[tuple[Shape, bool], ort.InferenceSession] = {}
        self._latest: Shape | None = None
        self._report = CompileReport()
        self.load_weights(initial_weights(spec))

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        self._weights = {tensor.name: np.array(weights[tensor.name], np.float32) for tensor in self.spec.tensors}
        self._sessions.clear()  # they have taken the weights as constants
        for graph in self._graphs.values():
            load_weights(graph, self.spec, self._weights)

    def read_tensor(self, name: str) -> np.ndarray:
        if self._latest is None:
            return self._weights[self.spec.tensor(name).name].copy()
        return read_tensor(self._graphs[self._latest], self.spec, name)

    def parameter_count(self) -> int:
        found = initializers(self._graph(self._any_shape()), self.spec)
        return sum(math.prod(found[tensor.name].dims) for tensor in self.spec.tensors if tensor.trainable)

    def optimizer_state(self) -> dict[str, np.ndarray]:
        raise self._no_training()

    def forward(self, images: np.ndarray) -> np.ndarray:
        outputs = self.program("forward", images)()
        return self.fetch(outputs)["logits"]

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Of a session that gives them all, and so fuses no layer with another, as that of `forward` may."""
        self.check_images(images)
        names = [layer.name for layer in self.spec.layers]
        found = self._session(images.shape, of_layers=True).run(names, {IMAGES: np.array(images, np.float32)})
        lost = [name for name, values in zip(names, found, strict=True) if not isinstance(values, np.ndarray)]
        if lost:
            raise BackendError(f"onnxruntime has fused {lost[0]} away; take the tuning 'unoptimised'")
        return {name: np.array(values) for name, values in zip(names, found, strict=True)}

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        raise self._no_training()

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        raise self._no_training()

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        if phase not in self.phases:
            raise self._no_training(phase)
        self.check_images(images)
        session = self._session(images.shape, of_layers=False)
        binding, device = session.io_binding(), (self.execution.device_kind, index_of(self.execution))
        binding.bind_ortvalue_input(IMAGES, ort.OrtValue.ortvalue_from_numpy(np.array(images, np.float32), *device))
        binding.bind_output(self.spec.logits, *device)
        reuse = self.tuning.reuse_output

        def forward() -> dict[str, Any]:
            if not reuse:
                binding.bind_output(self.spec.logits, *device)
            session.run_with_iobinding(binding)
            return {"logits": binding.get_outputs()[0]}

        return forward

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: np.array(value.numpy()) for name, value in outputs.items()}

    def synchronize(self) -> None:
        """A run returns when it is done, on a GPU too: its streams are waited for at the end of each."""

    def flags(self) -> dict[str, str]:
        return flags(self._session(self._any_shape(), of_layers=False))

    def effective_precision(self) -> str:
        shape = self._any_shape()
        return effective_precision(self._graph(shape), self._session(shape, of_layers=False))

    def compile_report(self) -> CompileReport:
        """Tracing is the export, and compiling is what a session does to make the graph ready."""
        return self._report

    def _graph(self, shape: Shape) -> onnx.ModelProto:
        """With an output for every layer."""
        if shape not in self._graphs:
            start = time.perf_counter()
            self._graphs[shape] = export_graph(self.spec, self._weights, shape)
            self._note(trace_s=time.perf_counter() - start)
        self._latest = shape
        return self._graphs[shape]

    def _session(self, shape: Shape, of_layers: bool) -> ort.InferenceSession:
        if (shape, of_layers) not in self._sessions:
            graph, start = self._graph(shape), time.perf_counter()
            try:
                session = new_session(graph if of_layers else logits_alone(graph, self.spec), self.execution)
            except BackendError as error:
                layer = layer_in(str(error), self.spec)
                where = f" at {layer}; take another backend" if layer else ""
                raise BackendError(f"{self.spec.name}: {error}{where}") from error
            self._sessions[shape, of_layers] = session
            self._note(compile_s=time.perf_counter() - start, compilations=1)
        return self._sessions[shape, of_layers]

    def _any_shape(self) -> Shape:
        """The latest that was run, else the smallest that the network takes."""
        if self._latest is not None:
            return self._latest
        return (1, self.spec.in_channels, *[smallest_input(self.spec)] * self.spec.dimensions)

    def _note(self, trace_s: float = 0.0, compile_s: float = 0.0, compilations: int = 0) -> None:
        so_far = self._report
        self._report = CompileReport(
            so_far.trace_s + trace_s, so_far.compile_s + compile_s, so_far.compilations + compilations
        )

    def _no_training(self, phase: str = "train_step") -> BackendError:
        return BackendError(f"onnxruntime {CAPABILITIES.lacks(phase=phase)}, or another backend")
