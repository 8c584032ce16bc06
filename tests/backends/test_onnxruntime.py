"""ONNX Runtime: the graph is the network, its weights can be replaced, and what it cannot do is said in one line."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import backends
import parity
from backends import BackendError, Execution
from backends.contract import PHASES
from parity import random_batch
from shared_specs import ShapeError, UNetSpec, WeightsError, initial_weights
from shared_specs.shapes import feature_shapes
from tests.variants import ATTENTION, BATCH_NORM, MAX_POOL, UP_UNIT, VOLUME, built

pytestmark = pytest.mark.needs_backends("onnxruntime")

FLOAT32 = Execution()

PROBES = ("structure", "forward", "activations")


def activation_at(part: str, level: int, **activation: Any) -> dict[str, Any]:
    return {"part": part, "levels": [level], "activation": activation}


NETWORKS: dict[str, dict[str, Any]] = {
    "batch norm, dropout, transposed convolution, deep heads": {
        "widths": [4, 4, 8],
        "size": (8, 12),
        "dropout": {"rate": 0.5},
        "block__order": ["conv", "dropout", "norm", "activation"],
        "deep_supervision": {"levels": [1], "weights": [1.0, 0.5]},
        "override": [
            activation_at("encoder", 1, kind="prelu", slopes="per_channel"),
            activation_at("encoder", 2, kind="gelu", approximation="none"),
            activation_at("decoder", 1, kind="elu", alpha=0.7),
        ],
    },
    "group norm, average pool, linear, attention": {
        "norm": {"kind": "group", "groups": 2, "epsilon": 1e-3},
        "activation": {"kind": "silu"},
        "down": MAX_POOL | {"kind": "average_pool"},
        "up": {"kind": "linear", "scale": "skip", "align_corners": True, "after": UP_UNIT},
        "attention": ATTENTION,
        "size": (9, 7),
    },
    "layer norm, reflect, pixel shuffle, sum": {
        "norm": {"kind": "layer", "epsilon": 1e-3},
        "activation": {"kind": "identity"},
        "conv__padding_mode": "reflect",
        "up": {
            "kind": "pixel_shuffle",
            "scale": 2,
            "before": UP_UNIT | {"width": "same"},
            "after": UP_UNIT | {"width": "skip"},
        },
        "merge": {"kind": "sum", "size_mismatch": "pad_upsampled"}
        | {"odd_difference": "half_to_even", "padding_mode": "replicate"},
        "widths": [4, 8],
    },
    "3-D, instance norm, nearest, cropped": VOLUME
    | {
        "norm": {"kind": "instance", "epsilon": 1e-3, "affine": True},
        "activation": {"kind": "leaky_relu", "slope": 0.2},
        "conv__padding_mode": "circular",
        "up": {"kind": "nearest", "scale": 2},
        "merge": {"kind": "concatenate", "order": ["upsampled", "skip"], "size_mismatch": "resize_upsampled"}
        | {"resize": "nearest"},
        "size": (5, 6, 7),
        "head": {"kernel": 1, "padding": 0, "bias": True, "norm": BATCH_NORM, "activation": {"kind": "tanh"}},
    },
}
"""Together they have every kind of layer; `test_every_kind_of_layer_is_exported` holds them to that."""


def network(variant: Callable[..., UNetSpec], name: str) -> tuple[UNetSpec, parity.Batch]:
    spec, images, labels = built(NETWORKS[name])
    return spec, parity.Batch(images, labels, "of the test")


@pytest.fixture(scope="module")
def model(variant) -> Any:
    """Two levels, exported once."""
    return backends.get("onnxruntime").build(variant(widths=[4, 8]))


@pytest.fixture(scope="module")
def images(model) -> np.ndarray:
    return random_batch(model.spec).images


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> None:
    if "model" in request.fixturenames:
        found = request.getfixturevalue("model")
        found.load_weights(initial_weights(found.spec))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_is_the_network(variant, name: str) -> None:
    spec, batch = network(variant, name)
    verdict = parity.check(spec, ["onnxruntime"], FLOAT32, batch=batch)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(PROBES)
    assert {m.quantity for m in verdict.measurements if m.probe == "activations"} == {
        layer.name for layer in spec.layers
    }
    assert {each.probe for each in verdict.not_compared} == {*parity.PROBES} - {*PROBES}


def test_every_kind_of_layer_is_exported(variant) -> None:
    from backends.pytorch.unet import KINDS

    assert {layer.kind for name in NETWORKS for layer in network(variant, name)[0].layers} == set(KINDS)


def test_weights_come_back_as_float32(model, images) -> None:
    weights = initial_weights(model.spec, seed=7)
    model.forward(images)
    model.load_weights(weights)
    read = model.weights()
    assert list(read) == [tensor.name for tensor in model.spec.tensors]
    for name, values in weights.items():
        np.testing.assert_array_equal(read[name], values.astype(np.float32), err_msg=name)
        read[name][...] = 1e6
    assert not (model.read_tensor("head.weight") == 1e6).any()


def test_other_weights_need_no_other_export(model, images) -> None:
    first = model.forward(images)
    traced_s, graphs = model.compile_report().trace_s, dict(model._graphs)
    model.load_weights(initial_weights(model.spec, seed=5))
    moved = model.forward(images)
    assert model.compile_report().trace_s == traced_s and model._graphs == graphs
    fresh = backends.get("onnxruntime").build(model.spec)
    fresh.load_weights(initial_weights(model.spec, seed=5))
    np.testing.assert_array_equal(moved, fresh.forward(images))
    assert not np.array_equal(moved, first)


def test_refused_weights_change_nothing(model, images) -> None:
    before = model.forward(images)
    broken = {name: values + 1 for name, values in model.weights().items()}
    broken["head.bias"] = np.full_like(broken["head.bias"], np.nan)
    with pytest.raises(WeightsError, match=r"head\.bias has nan"):
        model.load_weights(broken)
    np.testing.assert_array_equal(model.forward(images), before)


def test_layers_are_named_and_shaped_as_the_layout_says(model, images) -> None:
    shapes = feature_shapes(model.spec, images.shape)
    activations = model.activations(images)
    assert {name: output.shape for name, output in activations.items()} == shapes
    assert list(activations) == list(shapes)
    np.testing.assert_allclose(activations["head"], model.forward(images), rtol=1e-4, atol=1e-5)
    assert model.parameter_count() == model.spec.parameter_count


@pytest.mark.parametrize("tuning", backends.capabilities("onnxruntime").tunings)
def test_every_tuning_computes_the_same_and_says_what_it_turned(model, images, tuning: str) -> None:
    from backends.onnxruntime.tunings import tuning_of

    other = copy.copy(model)  # with the graph that is there
    other.execution, other._sessions = Execution(tuning=tuning), {}
    other.tuning = tuning_of(other.execution)
    program = other.program("forward", images)
    first = other.fetch(program())["logits"]
    np.testing.assert_array_equal(other.fetch(program())["logits"], first)
    np.testing.assert_allclose(first, model.forward(images), rtol=1e-4, atol=1e-5)
    flags, knobs = other.flags(), backends.get("onnxruntime").knobs(other.execution)
    level = "ORT_DISABLE_ALL" if tuning == "unoptimised" else "ORT_ENABLE_ALL"
    assert flags["onnxruntime.graph_optimization_level"] == level
    assert flags["onnxruntime.provider"] == "CPUExecutionProvider"
    assert (flags["onnxruntime.intra_op_num_threads"] == "left to onnxruntime") is (knobs["threads"] == "0")
    assert other.effective_precision() == "float32"


def test_outputs_stay_as_they_were(model, images) -> None:
    """Of the default tuning; the tuned one says that it uses their memory again."""
    program = model.program("forward", images)
    one, other = program()["logits"], program()["logits"]
    assert one.data_ptr() != other.data_ptr()
    kept = model.fetch({"logits": one})["logits"]
    kept[...] = 0.0
    np.testing.assert_array_equal(model.fetch({"logits": one})["logits"], model.fetch({"logits": other})["logits"])


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "forward"])
def test_training_is_refused_in_one_line(model, images, phase: str) -> None:
    labels = random_batch(model.spec).labels
    run = model.train_step if phase == "train_step" else model.loss_and_gradients
    for asked in (lambda: run(images, labels), lambda: model.program(phase, images, labels), model.optimizer_state):
        with pytest.raises(BackendError, match=r"^onnxruntime has no phase '\w+' \(inference only\); take one of"):
            asked()


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_the_cpu_has_no_convolution_in_other_precisions(precision: str) -> None:
    """What `capabilities.py` says of ONNX Runtime, asked of it."""
    import onnx
    import onnxruntime

    kind = {"float64": onnx.TensorProto.DOUBLE, "bfloat16": onnx.TensorProto.BFLOAT16}[precision]
    x, y = (onnx.helper.make_tensor_value_info(name, kind, (1, 1, 4, 4)) for name in "xy")
    kernel = onnx.helper.make_tensor("w", kind, (1, 1, 1, 1), [0.5])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [kernel])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED|INVALID_GRAPH"):
        onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_images_that_do_not_fit_are_refused_before_any_export(model, images) -> None:
    with pytest.raises(ShapeError, match="images with 1 channels, expected 3"):
        model.forward(images[:, :1])
    with pytest.raises(ShapeError, match="images hold nan"):
        model.activations(np.where(images == images[0, 0, 0, 0], np.nan, images))


def test_nothing_is_written_to_the_terminal(variant, capfd, caplog) -> None:
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
        warnings.simplefilter("always")
        spec = variant(widths=[4, 4], norm={"kind": "group", "groups": 2, "epsilon": 1e-3})
        backends.get("onnxruntime").build(spec).forward(random_batch(spec).images)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_layer_that_cannot_be_exported_is_named(variant, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from backends.onnxruntime import export

    class Decides(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x  # which no graph of fixed nodes can say

    kinds = export.KINDS | {"batch_norm": lambda layer: Decides()}
    monkeypatch.setattr(export, "KINDS", kinds)
    monkeypatch.setattr("backends.pytorch.unet.KINDS", kinds)
    spec, name = variant(widths=[4]), r"encoder\.0\.block\.0\.norm \(batch_norm\)"
    with pytest.raises(BackendError, match=rf"^variant: {name} cannot be exported to ONNX \(") as caught:
        backends.get("onnxruntime").build(spec).forward(random_batch(spec).images)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("; take another backend")


def test_weights_beyond_what_a_graph_holds_are_refused(variant, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.onnxruntime import export

    monkeypatch.setattr(export, "LARGEST_BYTES", 1000)
    with pytest.raises(BackendError, match=r"its weights take .* and an ONNX graph in memory holds at most"):
        backends.get("onnxruntime").build(variant()).forward(random_batch(variant()).images)


def test_a_gpu_that_onnxruntime_does_not_use_is_no_gpu(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """It falls back to the CPU without a word."""
    from backends.onnxruntime import session

    class OnTheCPU:
        def __init__(self, graph: bytes, options: Any, providers: Any) -> None:
            self.asked = providers

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(session.ort, "InferenceSession", OnTheCPU)
    with pytest.raises(BackendError, match="cannot use cuda: it runs the graph on CPUExecutionProvider"):
        session.new_session(model._graph(model._any_shape()), Execution(device="cuda"))


def node(graph: Any, layer: str) -> Any:
    """The node that gives a layer's output."""
    return next(node for node in graph.node if layer in node.output)


def attribute(graph: Any, layer: str, name: str) -> Any:
    return next(attribute for attribute in node(graph, layer).attribute if attribute.name == name)


def swap(inputs: Any, one: int, other: int) -> None:
    inputs[one], inputs[other] = inputs[other], inputs[one]


def wrong_epsilon(graph: Any) -> None:
    attribute(graph, "encoder.1.block.0.norm", "epsilon").f = 1e-3


def shifted_padding(graph: Any) -> None:
    attribute(graph, "encoder.1.block.1.conv", "pads").ints[:] = [2, 1, 0, 1]


def weights_of_another(graph: Any) -> None:
    one, other = (node(graph, f"{part}.0.block.1.conv") for part in ("encoder", "decoder"))
    one.input[1], other.input[1] = other.input[1], one.input[1]


def leaky(graph: Any) -> None:
    node(graph, "decoder.0.block.0.activation").op_type = "LeakyRelu"


def order_of_the_merge(graph: Any) -> None:
    swap(node(graph, "decoder.0.merge").input, 0, 1)


def mean_for_shift(graph: Any) -> None:
    swap(node(graph, "decoder.0.block.1.norm").input, 2, 3)


def average_for_maximum(graph: Any) -> None:
    pool = node(graph, "encoder.1.down")
    pool.op_type = "AveragePool"
    kept = [one for one in pool.attribute if one.name in ("kernel_shape", "strides", "pads")]
    del pool.attribute[:]
    pool.attribute.extend(kept)


FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "epsilon": (wrong_epsilon, "encoder.1.block.0.norm"),
    "padding": (shifted_padding, "encoder.1.block.1.conv"),
    "weights of another layer": (weights_of_another, "encoder.0.block.1.conv"),
    "leaky relu": (leaky, "decoder.0.block.0.activation"),
    "order of the merge": (order_of_the_merge, "decoder.0.merge"),
    "mean for shift": (mean_for_shift, "decoder.0.block.1.norm"),
    "average for maximum": (average_for_maximum, "encoder.1.down"),
}
"""Planted in the graph that was exported, and the layer that has to be named."""


def with_graph(model: Any, images: np.ndarray, change: Callable[[Any], None] = lambda graph: None) -> Any:
    """Another model with a copy of the graph that is there, changed."""
    other = type(model)(model.spec, FLOAT32, model.recipe)
    other._graphs = {images.shape: copy.deepcopy(model._graph(images.shape))}
    change(other._graphs[images.shape].graph)
    return other


def verdict_of(candidate: Any) -> parity.Verdict:
    reference = backends.get("numpy_reference").build(candidate.spec, Execution(precision="float64"))
    return parity.compare_models(reference, candidate, probes=PROBES)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_located(model, images, fault: str) -> None:
    plant, layer = FAULTS[fault]
    verdict = verdict_of(with_graph(model, images, plant))
    found = verdict.first_difference
    assert found is not None
    assert (found.probe, found.quantity) == ("activations", layer)
    assert all(m.equal for m in verdict.measurements if m.probe == "structure"), "its weights are right"


def test_without_a_fault_the_same_graph_is_equal(model, images) -> None:
    assert verdict_of(with_graph(model, images)).equal


def test_a_fault_of_the_optimiser_is_caught_in_the_logits(model, images, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows where layers are fused, which no session does that gives them all."""
    from backends.onnxruntime import model as module

    def faulty(graph: Any, spec: UNetSpec) -> Any:
        made = cut_down(graph, spec)
        wrong_epsilon(made.graph)
        return made

    cut_down = module.logits_alone
    monkeypatch.setattr(module, "logits_alone", faulty)
    assert {m.probe for m in verdict_of(with_graph(model, images)).differences} == {"forward"}


def test_a_graph_of_other_shapes_is_refused(model, images) -> None:
    from backends.onnxruntime.export import check_graph

    graph = copy.deepcopy(model._graph(images.shape))
    attribute(graph.graph, "head", "pads").ints[:] = [1, 1, 1, 1]
    with pytest.raises(BackendError, match=r"its ONNX graph is not valid \(.*head"):
        check_graph(graph, model.spec, images.shape)


def test_a_graph_that_was_written_down_wrong_is_refused(model, images) -> None:
    from backends.onnxruntime.export import check_graph

    graph = copy.deepcopy(model._graph(images.shape))
    other = (images.shape[0] + 1, *images.shape[1:])
    with pytest.raises(BackendError, match=r"images is \(.*\) in the ONNX graph, expected \("):
        check_graph(graph, model.spec, other)


def test_what_onnxruntime_refuses_names_the_layer(model, images) -> None:
    def unknown(graph: Any) -> None:
        node(graph, "decoder.0.up").op_type = "NoSuchOperation"

    with pytest.raises(BackendError, match=r"onnxruntime refuses the graph .* at decoder\.0\.up; take another"):
        with_graph(model, images, unknown).forward(images)
