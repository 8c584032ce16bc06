"""How does each framework build and run it? One folder a framework, and importing this loads none of them."""

import numpy as np
from einops import rearrange

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

# Of an array that it meets for the first time, einops asks each framework that is loaded whether it is one of its own,
# and PyTorch loads its compiler to answer, which takes seconds. It remembers; so it meets one here, before PyTorch.
rearrange(np.empty(0), "c -> c")
