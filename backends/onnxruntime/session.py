"""ONNX Runtime's sessions: made as the tuning says, and what they say of themselves."""

from __future__ import annotations

import onnx
import onnxruntime as ort

from shared_specs import UNetSpec
from shared_specs.errors import one_line

from ..contract import BackendError, Execution
from .tunings import tuning_of

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What runs the operations of a graph, by kind of device."""

FATAL = 4
"""The only severity at which ONNX Runtime may write to the terminal: errors come as exceptions, too."""


def new_session(graph: onnx.ModelProto, execution: Execution) -> ort.InferenceSession:
    """A graph made ready to run.

    Raises:
        BackendError: where ONNX Runtime refuses the graph, or would run it on another device than was asked for.
    """
    tuning, provider = tuning_of(execution), PROVIDERS[execution.device_kind]
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = tuning.threads
    if tuning.graph_optimization == "none":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # On a GPU its default is TF32: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    settings = {} if provider == PROVIDERS["cpu"] else {"device_id": str(index_of(execution)), "use_tf32": "0"}
    try:
        session = ort.InferenceSession(graph.SerializeToString(), options, providers=[(provider, settings)])
    except Exception as error:  # its exceptions share no type
        raise BackendError(f"onnxruntime refuses the graph ({one_line(str(error))[:300]})") from error
    if session.get_providers()[0] != provider:  # it falls back to the CPU without a word
        raise BackendError(
            f"onnxruntime cannot use {execution.device}: it runs the graph on {session.get_providers()[0]}; install "
            "onnxruntime-gpu with the CUDA and cuDNN that it was built for, or take the cpu"
        )
    return session


def index_of(execution: Execution) -> int:
    """Of the device, 0 where none is named."""
    return int(execution.device.partition(":")[2] or 0)


def flags(session: ort.InferenceSession) -> dict[str, str]:
    """The switches of a session, read back from it."""
    options = session.get_session_options()
    provider = session.get_providers()[0]
    read = {
        "onnxruntime.provider": provider,
        "onnxruntime.graph_optimization_level": options.graph_optimization_level.name,
        "onnxruntime.execution_mode": options.execution_mode.name,
        "onnxruntime.intra_op_num_threads": str(options.intra_op_num_threads or "left to onnxruntime"),
    }
    tf32 = session.get_provider_options()[provider].get("use_tf32")
    return read if tf32 is None else read | {"onnxruntime.use_tf32": tf32}


def effective_precision(graph: onnx.ModelProto, session: ort.InferenceSession) -> str:
    """In which the graph computes, from the types of all its tensors; and of the products of a GPU, its switch."""
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    kinds = {initializer.data_type for initializer in inferred.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    names = sorted(FLOATS[kind] for kind in kinds if kind in FLOATS)
    if names == ["float32"] and flags(session).get("onnxruntime.use_tf32") == "1":
        return "tf32"
    return " and ".join(names)


FLOATS: dict[int, str] = {
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
}


def layer_in(message: str, spec: UNetSpec) -> str | None:
    """The layer whose node a message names, which is called `LAYER/NODE`, or None where it names none."""
    named = [layer.name for layer in spec.layers if f"{layer.name}/" in message]
    return max(named, key=len, default=None)
