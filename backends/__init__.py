"""How does each framework build and run it? One folder a framework, and importing this loads none of them."""

from .capabilities import Capabilities
from .contract import Backend, BackendError, Execution, Model, StepResult
from .registry import available, capabilities, default, get, missing, names

__all__ = [
    "Backend",
    "BackendError",
    "Capabilities",
    "Execution",
    "Model",
    "StepResult",
    "available",
    "capabilities",
    "default",
    "get",
    "missing",
    "names",
]
