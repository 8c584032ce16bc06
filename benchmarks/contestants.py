"""Who can be timed: the registered backends, and a few that exist only to be timed beside them."""

from __future__ import annotations

import difflib
import importlib
from importlib.util import find_spec

import backends
from backends import Backend, BackendError, Capabilities, Execution

PEERS = {
    "peer_monai_basic_unet": ("benchmarks.peers:MonaiBasicUNet", "monai"),
    "peer_plain_conv_unet": ("benchmarks.peers:PlainConvUNet", "dynamic_network_architectures"),
}
"""Public U-Nets as they ship: other networks that do the same work, which no gate can prove equal."""

NO_OP = {"no_op": ("benchmarks.no_op:NoOp", "numpy")}

NOT_OURS = PEERS | NO_OP
"""What does not compute the spec's network, and has no gate and no verdict."""

BESIDE = {"handwritten_pytorch": ("benchmarks.handwritten:HandwrittenPyTorch", "torch")} | NOT_OURS
"""Name to (where it is, the module that it needs). They pass through the same worker."""

DIAGNOSTIC = ("op_by_op", "unoptimised")
"""Tunings that nobody would choose: they show what another one brings, and are no answer to which backend to choose."""

BESIDE_CAN = Capabilities(precisions=("float64", "float32"), tunings=("default",))
"""What these can do at most; each says itself in the worker."""


def known() -> list[str]:
    """Every name that a cell may have as its backend."""
    return [name for name in (*backends.names(), *BESIDE) if name not in NO_OP]


def missing(name: str) -> str | None:
    """Why this one cannot be timed here, in one line, or None. Imports no framework."""
    if name in BESIDE:
        module = BESIDE[name][1]
        extra = "; pip install 'tandem[peers]'" if name in PEERS else ""
        return None if find_spec(module) else f"{name} needs {module}, not installed here{extra}"
    if name not in known():
        near = difflib.get_close_matches(name, known(), n=2, cutoff=0.3) or known()
        return f"no backend is named {name!r}; the nearest are {', '.join(near)}"
    return backends.missing(name)


def default() -> list[str]:
    """What is timed where nothing was named: the backends that run by default, the reference aside."""
    return [name for name in backends.default() if name != "numpy_reference"]


def capabilities(name: str) -> Capabilities:
    """What this one can do. Imports no framework."""
    return BESIDE_CAN if name in BESIDE else backends.capabilities(name)


def lacks(can: Capabilities, execution: Execution, phase: str) -> str | None:
    """What is lacking of a cell, in a clause without what to take instead: others may well run it."""
    lacking = can.lacks(execution, phase)
    return None if lacking is None else lacking.partition(";")[0]


def get(name: str) -> Backend:
    """The backend of this name; imports its framework, so that only a worker calls it.

    Raises:
        BackendError: where there is none, or its framework is missing.
    """
    reason = missing(name)
    if reason:
        raise BackendError(reason)
    if name not in BESIDE:
        return backends.get(name)
    module, _, attribute = BESIDE[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)()
