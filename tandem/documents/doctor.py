"""`tandem doctor --json`."""

from __future__ import annotations

from typing import Literal

from benchmarks.machine import Machine

from .base import Document, Part


class Trial(Part):
    """A tiny network that was built and run in one precision on one device."""

    device: str
    precision: str
    works: bool
    problem: str
    """What went wrong, in one line; empty where it works."""
    seconds: float | None
    """Of building and the first run, compilation included."""


class Examined(Part):
    """What was found of one backend, in a process of its own."""

    works: bool
    """Whether it computes in some precision."""
    problem: str
    """Why it does not, with what to do; empty where it does."""
    versions: dict[str, str]
    devices: tuple[str, ...]
    tunings: tuple[str, ...]
    phases: tuple[str, ...] = ()
    """Of a step that it has; a backend without `train_step` is for inference only."""
    note: str = ""
    """Why it lacks phases, in a few words."""
    trials: tuple[Trial, ...]


class Package(Part):
    """A distribution that an extra installs."""

    name: str
    installed: str | None
    """Its version, null where it is not installed."""
    needed: str
    """What the project asks for, such as `>=2.11`."""
    sufficient: bool


class ExtraHere(Part):
    """An extra of the project."""

    name: str
    purpose: str
    """What it is for."""
    complete: bool
    command: str
    """What installs it here."""
    packages: tuple[Package, ...]


class Tool(Part):
    """A program or folder that is used where it is there."""

    name: str
    found: str | None
    """Its version or place, null where it is not there."""
    purpose: str


class DoctorDocument(Document):
    """What works on this machine."""

    command: Literal["doctor"]
    healthy: bool
    """Whether at least two backends work, so that there is something to compare."""
    backends: dict[str, Examined]
    machine: Machine
    available_memory_bytes: int
    extras: tuple[ExtraHere, ...]
    tools: tuple[Tool, ...]
    folders: tuple[Tool, ...]
    """Where caches and results are."""
