"""Backends by name: unknown, missing, broken and from elsewhere; none is imported that nobody asked for."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import backends
from backends import BackendError, registry


def forget() -> None:
    registry._targets.cache_clear()
    registry._declared.cache_clear()
    registry.capabilities.cache_clear()
    registry.get.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Registers an entry point and writes the module `elsewhere_backend` that it may point to."""

    def register(target: str, code: str = "", name: str = "elsewhere") -> None:
        (tmp_path / "elsewhere_backend.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "elsewhere_backend", raising=False)
        points = [EntryPoint(name, target, registry.GROUP)]
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
        forget()

    return register


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes modules look not installed."""
    find_spec = importlib.util.find_spec

    def hide(*modules: str) -> None:
        monkeypatch.setattr(registry, "find_spec", lambda name: None if name in modules else find_spec(name))

    return hide


def test_built_in_backends_are_named_without_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert backends.names()[:4] == ["numpy_reference", "pytorch", "flax_nnx", "flax_linen"]


def test_get_gives_the_backend_of_that_name(any_backend_name: str) -> None:
    backend = backends.get(any_backend_name)
    assert backend.name == any_backend_name
    assert backends.get(any_backend_name) is backend


@pytest.mark.parametrize(("name", "nearest"), [("pytorhc", "pytorch"), ("flax", "flax_nnx"), ("numpy", "numpy_ref")])
def test_unknown_backend_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(BackendError, match=rf"^no backend is named '{name}'; the nearest are {nearest}"):
        backends.get(name)


@pytest.mark.parametrize(
    ("name", "hidden", "reason"),
    [
        ("pytorch", ["torch"], "backend pytorch needs torch, not installed here; pip install 'tandem[torch]'"),
        ("flax_nnx", ["jax"], "backend flax_nnx needs jax, not installed here; pip install 'tandem[flax]'"),
        (
            "onnxruntime",
            ["onnxscript"],
            "backend onnxruntime needs onnxscript, not installed here; pip install 'tandem[onnx]'",
        ),
        (
            "flax_nnx",
            ["flax", "jax", "optax"],
            "backend flax_nnx needs jax, flax, optax, not installed here; pip install 'tandem[flax]'",
        ),
    ],
    ids=["torch", "jax", "exporter", "all_of_flax"],
)
def test_missing_framework_says_what_to_install(
    name: str, hidden: list[str], reason: str, without: Callable[..., None]
) -> None:
    without(*hidden)
    assert backends.missing(name) == reason
    assert name not in backends.available()
    assert name in backends.names()
    with pytest.raises(BackendError) as error:
        backends.get(name)
    assert str(error.value) == reason


def test_numpy_reference_is_always_there(without: Callable[..., None]) -> None:
    without("torch", "jax", "flax", "optax")
    assert backends.available() == ["numpy_reference"]


def test_plugin_is_found(plugin: Callable[..., None]) -> None:
    plugin("elsewhere_backend:Elsewhere", "class Elsewhere:\n    name = 'elsewhere'\n")
    assert backends.names()[-1] == "elsewhere"
    assert backends.get("elsewhere").name == "elsewhere"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("no_such_module:Elsewhere", ""),
        ("elsewhere_backend:Absent", "x = 1"),
        ("elsewhere_backend", "x = 1"),
        ("elsewhere_backend:Elsewhere", "import no_such_framework"),
        ("elsewhere_backend:Elsewhere", "raise RuntimeError('built for\\nanother CUDA')"),
        ("elsewhere_backend:Elsewhere", "def Elsewhere(): raise OSError('libcudnn.so: cannot open')"),
        ("elsewhere_backend:Elsewhere", "class Elsewhere"),
        ("elsewhere_backend:x", "x = 1"),
        ("elsewhere_backend:Elsewhere", "raise SystemExit('no licence')"),
    ],
    ids=["module", "attribute", "no_attribute", "import", "raises", "constructor", "syntax", "no_class", "exits"],
)
def test_broken_plugin_breaks_nothing_but_itself(target: str, code: str, plugin: Callable[..., None]) -> None:
    plugin(target, code)
    assert "elsewhere" in backends.names()
    assert backends.get("numpy_reference").name == "numpy_reference"
    with pytest.raises(BackendError, match=r"^backend elsewhere cannot be loaded \(.+\); install it again$") as error:
        backends.get("elsewhere")
    assert "\n" not in str(error.value)


def test_a_plugin_that_cannot_say_what_it_can_do_takes_no_other_with_it(
    plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin("elsewhere_backend:Elsewhere", "raise RuntimeError('libfoo.so is missing')")
    points = {
        registry.GROUP: [EntryPoint("elsewhere", "elsewhere_backend:Elsewhere", registry.GROUP)],
        registry.CAPABILITIES_GROUP: [EntryPoint("elsewhere", "elsewhere_backend:CAN", registry.CAPABILITIES_GROUP)],
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: points[group])
    forget()
    assert "libfoo.so is missing" in str(backends.missing("elsewhere"))
    assert "elsewhere" in backends.names() and "elsewhere" not in backends.default()


def test_plugin_cannot_take_a_built_in_name(plugin: Callable[..., None]) -> None:
    plugin("elsewhere_backend:Elsewhere", "class Elsewhere: pass", name="numpy_reference")
    assert type(backends.get("numpy_reference")).__name__ == "NumPyReference"
