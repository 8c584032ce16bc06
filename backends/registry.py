"""Backends by name. A framework that nobody asked for is never imported."""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec

from shared_specs.errors import one_line

from .capabilities import Capabilities
from .contract import Backend, BackendError

GROUP = "tandem.backends"

CAPABILITIES_GROUP = "tandem.capabilities"
"""By which a plugin says what it can do, from a module that loads no framework."""

BUILT_IN = {
    "numpy_reference": "backends.numpy_reference.model:NumPyReference",
    "pytorch": "backends.pytorch.backend:PyTorch",
    "flax_nnx": "backends.flax_nnx.model:FlaxNNX",
    "flax_linen": "backends.flax_linen.model:FlaxLinen",
    "onnxruntime": "backends.onnxruntime.model:OnnxRuntime",
}
"""Also registered as entry points; listed here so that a plain checkout works without installation."""

REQUIREMENTS = {
    "numpy_reference": (("numpy",), ""),
    "pytorch": (("torch",), "torch"),
    "flax_nnx": (("jax", "flax", "optax"), "flax"),
    "flax_linen": (("jax", "flax", "optax"), "flax"),
    "onnxruntime": (("torch", "onnx", "onnxscript", "onnxruntime"), "onnx"),
}
"""Of the built-in backends: the modules they need and the extra that installs them."""


ON_REQUEST = ("flax_linen", "onnxruntime")
"""The built-in backends that run where they are named: they double what others show."""


@cache
def _targets() -> dict[str, str]:
    plugins = {point.name: point.value for point in sorted(entry_points(group=GROUP))}
    return BUILT_IN | {name: target for name, target in plugins.items() if name not in BUILT_IN}


@cache
def _declared() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=CAPABILITIES_GROUP)}


def target(name: str) -> str:
    """Where a registered backend is found, as "module:Class"."""
    return _targets()[name]


def declared(name: str) -> str | None:
    """Where a plugin says what it can do, or None where it does not."""
    return _declared().get(name)


def names() -> list[str]:
    """Every registered backend, installed or not: the built-in ones first."""
    return list(_targets())


def missing(name: str) -> str | None:
    """Why a backend cannot be used here, with what to install, or None. Imports no framework.

    Of a plugin it is known beforehand only where it cannot even say what it can do.
    """
    if declared(name) is not None and name not in BUILT_IN:
        try:
            capabilities(name)
        except BackendError as error:
            return str(error)
    modules, extra = REQUIREMENTS.get(name, ((), ""))
    absent = [module for module in modules if find_spec(module) is None]
    if not absent:
        return None
    return f"backend {name} needs {', '.join(absent)}, not installed here; pip install 'tandem[{extra}]'"


@cache
def capabilities(name: str) -> Capabilities:
    """What a backend can do; imports no framework.

    Of a plugin it is what it declares in the entry-point group `tandem.capabilities`, else all that there is.

    Raises:
        BackendError: where a plugin's declaration cannot be read.
    """
    if name in BUILT_IN:
        return importlib.import_module(f"backends.{name}.capabilities").CAPABILITIES
    where = declared(name)
    if where is None:
        return Capabilities()
    module, _, attribute = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a plugin may raise anything on import
        raise _not_loaded(name, error) from error
    if not isinstance(found, Capabilities):
        raise BackendError(f"{where} of {name} is a {type(found).__name__}, expected a Capabilities")
    return found


def available() -> list[str]:
    """The backends whose frameworks are installed. Imports none of them."""
    return [name for name in names() if missing(name) is None]


def default() -> list[str]:
    """Those of them that run where nobody has named any."""
    return [name for name in available() if name not in ON_REQUEST]


@cache
def get(name: str) -> Backend:
    """The backend of this name.

    Raises:
        BackendError: where there is none (with the nearest names), or it cannot be imported (with what to install).
    """
    if name not in _targets():
        near = difflib.get_close_matches(name, names(), n=2, cutoff=0.3) or names()
        raise BackendError(f"no backend is named {name!r}; the nearest are {', '.join(near)}")
    reason = missing(name)
    if reason:
        raise BackendError(reason)
    module, _, attribute = _targets()[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # a framework that is installed but broken may raise anything on import
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: BaseException) -> BackendError:
    reason = f"{type(error).__name__}: {one_line(str(error))}"
    return BackendError(f"backend {name} cannot be loaded ({reason}); install it again")
