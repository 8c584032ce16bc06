"""ONNX Runtime as a backend: its weights can be replaced, and what it cannot do is said in one line."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import numpy as np
import pytest

import backends
from backends import BackendError, Execution
from backends.contract import PHASES
from parity import random_batch
from shared_specs import ShapeError, WeightsError, initial_weights
from shared_specs.shapes import feature_shapes

pytestmark = pytest.mark.needs_backends("onnxruntime")

FLOAT32 = Execution()


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


def test_what_onnxruntime_refuses_names_the_layer(model, images) -> None:
    other = copy.copy(model)
    other._graphs, other._sessions = {images.shape: copy.deepcopy(model._graph(images.shape))}, {}
    up = next(node for node in other._graphs[images.shape].graph.node if "decoder.0.up" in node.output)
    up.op_type = "NoSuchOperation"
    with pytest.raises(BackendError, match=r"onnxruntime refuses the graph .* at decoder\.0\.up; take another"):
        other.forward(images)
