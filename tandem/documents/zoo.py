"""`tandem list --json`."""

from __future__ import annotations

from typing import Literal

from .base import Document, Part


class Listed(Part):
    """A network of the zoo."""

    name: str
    title: str
    source: str
    citation: str
    licence: str
    dimensions: int
    parameters: int
    size: tuple[int, ...]
    """The sides of the image of which the FLOPs are, in pixels."""
    forward_flops: int
    """Of inference on one image."""
    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    """Channels of each encoder level."""
    norm: str
    """The kind that holds where no override says otherwise."""
    norms: tuple[str, ...]
    """Every kind that occurs in it."""
    fingerprint: str
    """SHA-256 of all that shapes the function."""


class BackendHere(Part):
    """Whether a backend is installed."""

    available: bool
    missing: str | None
    """Why it is not, with what to install."""
    phases: tuple[str, ...]
    """Of a step that it has; a backend without `train_step` is for inference only."""
    precisions: tuple[str, ...]
    tunings: tuple[str, ...]
    devices: tuple[str, ...]
    """The kinds of device that it could have, whatever this machine has."""
    replicas: bool
    """Whether it trains on several devices at once."""
    note: str
    """Why it lacks phases or replicas, in a few words."""


class ListDocument(Document):
    """The zoo, filtered and sorted as asked for, and the backends."""

    command: Literal["list"]
    specs: tuple[Listed, ...]
    backends: dict[str, BackendHere]
    """By name."""
