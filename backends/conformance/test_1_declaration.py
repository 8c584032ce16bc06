"""First: can the backend be loaded, and does it say truthfully what it is?"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import backends
from backends.contract import PHASES, PRECISIONS, Backend, Capabilities, Model
from backends.registry import BUILT_IN, CAPABILITIES_GROUP, declared, target

from .steps import Failure, expect, needs
from .subject import Subject

FRAMEWORKS = ("torch", "jax", "jaxlib", "flax", "optax", "equinox", "tensorflow", "keras", "onnxruntime", "mlx")
"""Whose import takes seconds, which nobody should pay who has not asked for the backend."""

ASK = """
import json, sys
import backends
declared = backends.capabilities({name!r})
print(json.dumps([name for name in {watched!r} if name in sys.modules]))
"""


def test_loads(subject: Subject) -> None:
    try:
        backends.get(subject.name)
    except backends.BackendError as error:
        raise Failure(str(error)) from error


@needs("loads")
def test_is_a_backend(subject: Subject) -> None:
    found = subject.backend
    expect(
        isinstance(found, Backend),
        f"{target(subject.name)} makes a {type(found).__name__}, expected a subclass of backends.contract.Backend",
    )
    expect(
        getattr(found, "name", None) == subject.name,
        f"its name is {getattr(found, 'name', None)!r}, expected {subject.name!r}, as its entry point says",
    )


@needs("is a backend")
def test_declares_what_it_can_do(subject: Subject) -> None:
    found = getattr(subject.backend, "capabilities", None)
    if not isinstance(found, Capabilities):
        raise Failure(f"capabilities is {found!r}, expected a backends.Capabilities as an attribute of the class")
    for what, values, known in (
        ("precisions", found.precisions, PRECISIONS),
        ("phases", found.phases, PHASES),
        ("devices", found.devices, ("cpu", "cuda")),
    ):
        expect(bool(values), f"capabilities.{what} is empty, expected some of {', '.join(known)}")
        for value in values:
            expect(value in known, f"capabilities.{what} has {value!r}, expected some of {', '.join(known)}")
    expect("default" in found.tunings, f"capabilities.tunings is {found.tunings}, expected 'default' among them")
    expect("forward" in found.phases, f"capabilities.phases is {found.phases}, expected 'forward' among them")
    both = len({"forward_backward", "train_step"} & set(found.phases)) != 1
    expect(both, f"capabilities.phases is {found.phases}, expected 'forward_backward' and 'train_step' both or neither")


@needs("declares what it can do")
def test_declares_the_same_without_its_framework(subject: Subject) -> None:
    """Tables and completion ask `backends.capabilities`, which must not cost the import of a framework."""
    if subject.name not in BUILT_IN and declared(subject.name) is None:
        pytest.skip(
            f"there is no entry point {subject.name} in the group {CAPABILITIES_GROUP}, so that it is taken to have "
            "everything until it is loaded; point it to a module that imports no framework"
        )
    found = backends.capabilities(subject.name)
    expect(
        found == subject.capabilities,
        f"the entry point in {CAPABILITIES_GROUP} says {found}, its class {subject.capabilities}; expected the same",
    )
    watched = [*FRAMEWORKS, target(subject.name).partition(":")[0]]
    code = ASK.format(name=subject.name, watched=watched)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    expect(ended.returncode == 0, f"its declaration cannot be read in a new process: {ended.stderr[-300:]}")
    loaded = json.loads(ended.stdout.splitlines()[-1])
    expect(not loaded, f"to read its declaration loads {', '.join(loaded)}, expected a module that imports none of it")


@needs("declares what it can do")
def test_names_devices_and_versions(subject: Subject) -> None:
    devices, versions = subject.backend.devices(), subject.backend.versions()
    expect(
        bool(devices) and {name.partition(":")[0] for name in devices} <= set(subject.capabilities.devices),
        f"devices() is {devices}, expected some of the kinds that it declares: {subject.capabilities.devices}",
    )
    expect(
        bool(versions) and all(isinstance(text, str) and text for text in versions.values()),
        f"versions() is {versions}, expected the version of its framework by name",
    )


@needs("declares what it can do", "names devices and versions")
def test_builds(subject: Subject) -> None:
    model = subject.backend.build(subject.spec("plain"), subject.base)
    expect(
        isinstance(model, Model),
        f"build() gives a {type(model).__name__}, expected a subclass of backends.contract.Model",
    )
    for what, found, expected in (
        ("spec", model.spec, subject.spec("plain")),
        ("execution", model.execution, subject.base),
        ("phases", set(model.phases), set(subject.capabilities.phases)),
    ):
        expect(found == expected, f"its model's {what} is {found}, expected {expected}")
