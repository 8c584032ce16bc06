"""Faults in the graph that ONNX Runtime is given: what an exporter, or an optimiser of graphs, may get wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.contract import Execution, Model
from shared_specs import Recipe, UNetSpec, initial_weights
from shared_specs.weights import Weights

from .fault import ONNX, Fault
from .planting import sound

Change = Callable[[Any], None]
"""Of an onnx.GraphProto."""


@dataclass(frozen=True)
class Graph:
    """The graph is changed after its export. What ONNX infers of its shapes is not looked at again."""

    change: Change

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model: Any = sound(backend, spec, execution, recipe)
        right = model._graph

        def graph(shape: tuple[int, ...]) -> Any:
            if shape not in model._graphs:
                model._graphs[shape] = copy.deepcopy(exported(spec, shape))
                model.load_weights(model._weights)
                self.change(model._graphs[shape].graph)
            return right(shape)

        model._graph = graph
        return model


@dataclass(frozen=True)
class Fused:
    """The program of inference runs another graph than the one that gives every layer."""

    change: Change

    def build(self, backend: str, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        model: Any = Graph(lambda graph: None).build(backend, spec, execution, recipe)
        fused = Graph(self.change).build(backend, spec, execution, recipe)
        load, model.program = model.load_weights, fused.program

        def load_both(weights: Weights) -> None:
            load(weights)
            fused.load_weights(weights)

        model.load_weights = load_both
        return model


EXPORTED: dict[tuple[str, tuple[int, ...]], Any] = {}


def exported(spec: UNetSpec, shape: tuple[int, ...]) -> Any:
    """An export takes seconds, and all faults of a network start from the same one."""
    from backends.onnxruntime import export_graph

    key = spec.model_dump_json(), shape
    if key not in EXPORTED:
        EXPORTED[key] = export_graph(spec, initial_weights(spec), shape)
    return EXPORTED[key]


def node(graph: Any, layer: str) -> Any:
    """The node that gives a layer's output."""
    return next(node for node in graph.node if layer in node.output)


def attribute(node: Any, name: str) -> Any:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def swapped(layer: str, one: int, other: int) -> Change:
    """A node reads two of its inputs in each other's place."""

    def change(graph: Any) -> None:
        inputs = node(graph, layer).input
        inputs[one], inputs[other] = inputs[other], inputs[one]

    return change


NORM, CONV, JOINED = "encoder.1.block.0.norm", "encoder.1.block.1.conv", "decoder.0.merge"


def wrong_epsilon(graph: Any) -> None:
    attribute(node(graph, NORM), "epsilon").f = 1e-3


def shifted_padding(graph: Any) -> None:
    attribute(node(graph, CONV), "pads").ints[:] = [2, 1, 0, 1]


def weights_of_another(graph: Any) -> None:
    one, other = (node(graph, f"{part}.0.block.1.conv") for part in ("encoder", "decoder"))
    one.input[1], other.input[1] = other.input[1], one.input[1]


def leaky(graph: Any) -> None:
    node(graph, "decoder.0.block.0.activation").op_type = "LeakyRelu"


def average_for_maximum(graph: Any) -> None:
    pool = node(graph, "encoder.1.down")
    pool.op_type = "AveragePool"
    kept = [one for one in pool.attribute if one.name in ("kernel_shape", "strides", "pads")]
    del pool.attribute[:]
    pool.attribute.extend(kept)


FAULTS = [
    Fault("epsilon 1e-3 in the graph", Graph(wrong_epsilon), "activations", NORM, ONNX),
    Fault("padding shifted by a row in the graph", Graph(shifted_padding), "activations", CONV, ONNX),
    Fault(
        "a node reads the weights of another layer",
        Graph(weights_of_another),
        "activations",
        "encoder.0.block.1.conv",
        ONNX,
        because="each initializer holds what it should",
    ),
    Fault("leaky ReLU in the graph", Graph(leaky), "activations", "decoder.0.block.0.activation", ONNX),
    Fault("merge order swapped in the graph", Graph(swapped(JOINED, 0, 1)), "activations", JOINED, ONNX),
    Fault(
        "a norm's mean read for its shift",
        Graph(swapped("decoder.0.block.1.norm", 2, 3)),
        "activations",
        "decoder.0.block.1.norm",
        ONNX,
    ),
    Fault("mean of each window in the graph", Graph(average_for_maximum), "activations", "encoder.1.down", ONNX),
    Fault(
        "an epsilon changed where layers are fused",
        Fused(wrong_epsilon),
        "forward",
        "logits",
        ONNX,
        because="the session that gives every layer fuses none of them",
    ),
]
