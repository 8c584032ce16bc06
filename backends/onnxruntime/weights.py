"""Canonical tensors in an ONNX graph: they are its initializers, under the names of the PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from shared_specs import UNetSpec
from shared_specs.weights import Weights, check_weights

from ..contract import BackendError
from ..pytorch.weights import native_name, to_canonical, to_native


def initializers(model: onnx.ModelProto, spec: UNetSpec) -> dict[str, onnx.TensorProto]:
    """The initializers of a graph by canonical name; those that it does not need are missing."""
    by_name = {initializer.name: initializer for initializer in model.graph.initializer}
    names = {tensor.name: native_name(tensor) for tensor in spec.tensors}
    return {name: by_name[native] for name, native in names.items() if native in by_name}


def load_weights(model: onnx.ModelProto, spec: UNetSpec, weights: Weights) -> None:
    """Write canonical weights into the initializers of a graph, in the graph's own precision.

    Raises:
        WeightsError: listing all that is missing, unexpected, misshapen or not finite; nothing is written then.
        BackendError: where the graph lacks an initializer, or has one of another shape.
    """
    check_weights(spec, weights)
    found = initializers(model, spec)
    for tensor in spec.tensors:
        shape = to_native(tensor, np.empty(tensor.shape)).shape
        if tensor.name not in found or tuple(found[tensor.name].dims) != shape:
            got = f"as {tuple(found[tensor.name].dims)}" if tensor.name in found else "nowhere"
            raise BackendError(f"{spec.name}: {tensor.name} is {got} in the ONNX graph, expected {shape}")
    write_weights(model, spec, weights)


def write_weights(model: onnx.ModelProto, spec: UNetSpec, weights: Mapping[str, np.ndarray]) -> None:
    """As `load_weights`, unchecked, and of those tensors alone that the graph has."""
    for name, initializer in initializers(model, spec).items():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type)
        values = np.ascontiguousarray(to_native(spec.tensor(name), np.asarray(weights[name])), dtype)
        initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))


def read_weights(model: onnx.ModelProto, spec: UNetSpec) -> dict[str, np.ndarray]:
    """The canonical weights of a graph, as copies."""
    return {name: read_tensor(model, spec, name) for name in initializers(model, spec)}


def read_tensor(model: onnx.ModelProto, spec: UNetSpec, name: str) -> np.ndarray:
    values = numpy_helper.to_array(initializers(model, spec)[name])
    return to_canonical(spec.tensor(name), values).copy()
