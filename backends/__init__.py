"""How does each framework build and run it? One folder a framework, and importing this loads none of them."""

from .contract import Backend, BackendError, Execution, Model, StepResult
from .registry import available, get, missing, names, tunings

__all__ = [
    "Backend",
    "BackendError",
    "Execution",
    "Model",
    "StepResult",
    "available",
    "get",
    "missing",
    "names",
    "tunings",
]
