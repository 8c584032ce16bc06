"""The ONNX graph of a network: it is the network, every kind of layer is in it, and what cannot be is said in one line.

Faults in it are planted in `tests/meta/faults/onnx_graphs.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import backends
import parity
from backends import BackendError, Execution
from parity import random_batch
from shared_specs import UNetSpec, initial_weights
from tests.variants import ATTENTION, BATCH_NORM, MAX_POOL, UP_UNIT, VOLUME, built

pytestmark = pytest.mark.needs_backends("onnxruntime")

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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_is_the_network(variant, name: str) -> None:
    spec, batch = network(variant, name)
    verdict = parity.check(spec, ["onnxruntime"], Execution(), batch=batch)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(PROBES)
    assert {m.quantity for m in verdict.measurements if m.probe == "activations"} == {
        layer.name for layer in spec.layers
    }
    assert {each.probe for each in verdict.not_compared} == {*parity.PROBES} - {*PROBES}


def test_every_kind_of_layer_is_exported(variant) -> None:
    from backends.pytorch.unet import KINDS

    assert {layer.kind for name in NETWORKS for layer in network(variant, name)[0].layers} == set(KINDS)


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


@pytest.fixture(scope="module")
def exported(variant) -> tuple[UNetSpec, tuple[int, ...], Any]:
    """A network of two levels, the shape of images, and the graph for them."""
    from backends.onnxruntime import export_graph

    spec = variant(widths=[4, 8])
    shape = random_batch(spec).images.shape
    return spec, shape, export_graph(spec, initial_weights(spec), shape)


def test_a_graph_of_other_shapes_is_refused(exported) -> None:
    from backends.onnxruntime.export import check_graph

    spec, shape, graph = exported
    graph = copy.deepcopy(graph)
    head = next(node for node in graph.graph.node if "head" in node.output)
    next(attribute for attribute in head.attribute if attribute.name == "pads").ints[:] = [1, 1, 1, 1]
    with pytest.raises(BackendError, match=r"its ONNX graph is not valid \(.*head"):
        check_graph(graph, spec, shape)


def test_a_graph_that_was_written_down_wrong_is_refused(exported) -> None:
    from backends.onnxruntime.export import check_graph

    spec, shape, graph = exported
    with pytest.raises(BackendError, match=r"images is \(.*\) in the ONNX graph, expected \("):
        check_graph(graph, spec, (shape[0] + 1, *shape[1:]))
