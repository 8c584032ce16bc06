"""Who can be timed: the registered backends, and a few that exist only to be timed beside them."""

from __future__ import annotations

import difflib
import importlib
from importlib.util import find_spec

import backends
from backends import Backend, BackendError

BESIDE = {"handwritten_pytorch": ("benchmarks.handwritten:HandwrittenPyTorch", "torch")}
"""Name to (where it is, the module that it needs). They pass through the same worker and the same gate."""


def known() -> list[str]:
    """Every name that a cell may have as its backend."""
    return [*backends.names(), *BESIDE]


def missing(name: str) -> str | None:
    """Why this one cannot be timed here, in one line, or None. Imports no framework."""
    if name in BESIDE:
        module = BESIDE[name][1]
        return None if find_spec(module) else f"{name} needs {module}, not installed here"
    if name not in known():
        near = difflib.get_close_matches(name, known(), n=2, cutoff=0.3) or known()
        return f"no backend is named {name!r}; the nearest are {', '.join(near)}"
    return backends.missing(name)


def default() -> list[str]:
    """What is timed where nothing was named: every backend that is installed, the reference aside."""
    return [name for name in backends.available() if name != "numpy_reference"]


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
