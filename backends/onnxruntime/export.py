"""The PyTorch module as an ONNX graph that gives every layer's output, checked against the spec."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx.utils import Extractor

from shared_specs import UNetSpec
from shared_specs.errors import one_line
from shared_specs.layout import IMAGES
from shared_specs.shapes import Shape, feature_shapes
from shared_specs.weights import Weights

from ..contract import BackendError
from ..pytorch.unet import KINDS, UNet, set_overwriting
from .weights import load_weights

LARGEST_BYTES = onnx.checker.MAXIMUM_PROTOBUF
"""Of a graph with its weights, in the form in which it is handed over."""

SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's note of the modules in which a node lies, as Python prints a list."""

LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


class RecordingUNet(UNet):
    """The network in evaluation mode that gives the output of every layer, in the spec's order."""

    def __init__(self, spec: UNetSpec):
        super().__init__(spec)
        set_overwriting(self, spec.layers, False)  # what it would write over is an output, too
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        outputs: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda module, inputs, output: outputs.__setitem__(name, output)

        handles = [self.get_submodule(layer.name).register_forward_hook(keep(layer.name)) for layer in self.spec.layers]
        try:
            self.heads(images)
        finally:
            for handle in handles:
                handle.remove()
        return tuple(outputs[layer.name] for layer in self.spec.layers)


def export_graph(spec: UNetSpec, weights: Weights, images: Shape) -> onnx.ModelProto:
    """The network for images of one shape (N, C, H, W), in float32.

    Its input is "images", its outputs are those of all layers, deep supervision's too, by their canonical names, and
    so are its initializers. `logits_alone` cuts it down to what inference needs.

    Raises:
        BackendError: naming the layer that cannot be exported, or that has not the spec's shape in the graph.
        ShapeError: where the network cannot take such images.
        WeightsError: where the weights are not the spec's.
    """
    shapes = feature_shapes(spec, images)
    size = 4 * sum(tensor.size for tensor in spec.tensors)
    if size > LARGEST_BYTES:
        raise BackendError(
            f"{spec.name}: its weights take {size / 2**30:.1f} GiB, and an ONNX graph in memory holds at most "
            f"{LARGEST_BYTES / 2**30:.0f}; take it narrower, or another backend"
        )
    try:
        model = _exported(RecordingUNet(spec), (torch.zeros(images),))
    except Exception as error:  # the exporter wraps whatever a translation raises
        raise _cannot_export(spec, shapes | {IMAGES: images}, error) from error
    _name_nodes(model.graph)
    _name_outputs(model.graph, [layer.name for layer in spec.layers])
    model = Extractor(model).extract_model([IMAGES], [layer.name for layer in spec.layers])  # what nothing reads goes
    load_weights(model, spec, weights)
    check_graph(model, spec, images)
    return model


def logits_alone(model: onnx.ModelProto, spec: UNetSpec) -> onnx.ModelProto:
    """The same graph with the logits as its only output, and nothing that they do not need."""
    return Extractor(model).extract_model([IMAGES], [spec.logits])


def check_graph(model: onnx.ModelProto, spec: UNetSpec, images: Shape) -> None:
    """ONNX's checker, and the shape of every layer's output against the spec's. Raises BackendError.

    The shapes are those that the exporter has written down, which ONNX infers again from the nodes; what follows from
    computed values, as in a group norm, it cannot.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]  # so that all between two layers follows from the nodes
    try:
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # of the checker, the inference or protobuf
        raise BackendError(f"{spec.name}: its ONNX graph is not valid ({one_line(str(error))[:300]})") from error
    expected = feature_shapes(spec, images) | {IMAGES: tuple(images)}
    for value in (*model.graph.input, *model.graph.output):
        found = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        if found != expected[value.name]:
            raise BackendError(
                f"{spec.name}: {value.name} is {found} in the ONNX graph, expected {expected[value.name]}; "
                "the exporter has changed the network"
            )


def _exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    """As the exporter translates it: its own optimisation would fold weights, which could not be replaced then."""
    names = [IMAGES, *(f"input_{number}" for number in range(1, len(inputs)))]
    with _quietly():
        program = torch.onnx.export(module, inputs, dynamo=True, optimize=False, verbose=False, input_names=names)
        assert program is not None
        return program.model_proto


@contextmanager
def _quietly() -> Iterator[None]:
    """The exporter speaks of its own deprecations and of what it skips, through warnings and loggers."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Put the layer before the name of each of its nodes, `head/node_conv2d`, and leave out the exporter's notes.

    The notes hold stack traces with the folders of this machine.
    """
    for node in graph.node:
        scopes = next((note.value for note in node.metadata_props if note.key == SCOPES), "[]")
        layer = next((scope for scope in ast.literal_eval(scopes)[:-1] if scope), "")
        node.name = f"{layer}/{node.name}"
        del node.metadata_props[:]


def _name_outputs(graph: onnx.GraphProto, names: list[str]) -> None:
    """Call every output by its layer. The exporter has names of its own.

    A layer that hands on what it is given, such as dropout here, has no value of its own: it gets a node for it.
    """
    values = [output.name for output in graph.output]
    renamed: dict[str, str] = {}
    for value, name in zip(values, names, strict=True):
        if value != IMAGES:
            renamed.setdefault(value, name)
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [renamed.get(value, value) for value in ends]
    for value, output, name in zip(values, graph.output, names, strict=True):
        output.name = name
        if renamed.get(value) != name:
            given = renamed.get(value, value)
            graph.node.append(onnx.helper.make_node("Identity", [given], [name], name=f"{name}/output"))


def _cannot_export(spec: UNetSpec, shapes: dict[str, Shape], error: Exception) -> BackendError:
    """Each layer is tried by itself to find the one: the exporter's own message names a node and a stack of its own."""
    for layer in spec.layers:
        try:
            _exported(KINDS[layer.kind](layer).eval(), tuple(torch.zeros(shapes[name]) for name in layer.inputs))
        except Exception as found:  # as above
            return BackendError(
                f"{spec.name}: {layer.name} ({layer.kind}) cannot be exported to ONNX ({_cause(found)}); "
                "take another backend"
            )
    return BackendError(f"{spec.name}: cannot be exported to ONNX ({_cause(error)}); take another backend")


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {one_line(str(error))[:300]}"
