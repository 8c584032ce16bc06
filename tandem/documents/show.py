"""`tandem show SPEC --json` and `tandem show A B --json`."""

from __future__ import annotations

from typing import Any, Literal

from shared_specs import UNetSpec

from .base import Document, Part


class ShownLayer(Part):
    """A layer with one batch of images."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """(N, C, H, W), or (N, C, D, H, W)."""
    parameters: int
    forward_flops: int
    backward_flops: int
    output_bytes: int
    """Of the output in float32."""


class Totals(Part):
    """Of a whole network with one batch of images."""

    parameters: int
    forward_flops: int
    backward_flops: int
    forward_bytes: int
    """The fewest that inference moves."""
    backward_bytes: int
    output_bytes: int
    """Of the outputs of all layers together."""
    norm_state: int
    """Numbers of the norms' running statistics."""
    layers: int


class ShowDocument(Document):
    """The layers of a network."""

    command: Literal["show"]
    spec: UNetSpec
    """The keys of its TOML file."""
    images_shape: tuple[int, ...]
    logits_shape: tuple[int, ...]
    layers: tuple[ShownLayer, ...]
    """In the order of execution."""
    totals: Totals


class DifferingKey(Part):
    """A key of the schema whose value differs."""

    key: str
    """Dotted, for instance `conv.padding`."""
    first: Any
    """Its value in the first spec, null where it is absent."""
    second: Any


class DifferingLayer(Part):
    """A layer that only one of the networks has, or that is another in the second."""

    name: str
    first: ShownLayer | None
    second: ShownLayer | None
    settings: dict[str, tuple[Any, Any]]
    """Settings of the layer that differ, with both values."""


class Side(Part):
    """One of the two networks."""

    spec: UNetSpec
    images_shape: tuple[int, ...]
    logits_shape: tuple[int, ...]
    totals: Totals


class DifferenceDocument(Document):
    """In what two networks differ."""

    command: Literal["show_difference"]
    same_function: bool
    """Whether nothing differs that shapes the function."""
    first: Side
    second: Side
    keys: tuple[DifferingKey, ...]
    layers: tuple[DifferingLayer, ...]
