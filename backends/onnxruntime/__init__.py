"""ONNX Runtime: `export_graph(spec, weights, shape)` is the network as an ONNX graph, for inference alone."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export import export_graph
    from .weights import load_weights, read_weights

__all__ = ["export_graph", "load_weights", "read_weights"]


def __getattr__(name: str) -> Any:
    """The framework is imported by what needs it: `tunings.py` does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import export, weights

    return getattr(export if name == "export_graph" else weights, name)
