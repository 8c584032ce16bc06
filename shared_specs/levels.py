"""What holds at one level of a U-Net, and the overrides that change it there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from .problems import describe
from .tables import (
    Activation,
    Attention,
    Block,
    Convolution,
    Down,
    Dropout,
    Merge,
    Norm,
    Residual,
    Table,
    Up,
)

Part = Literal["encoder", "decoder"]


class Level(Table):
    """What holds at one level, on the way down or up: the spec's tables with the overrides for it."""

    block: Block
    conv: Convolution
    norm: Norm
    activation: Activation
    down: Down
    up: Up
    merge: Merge
    dropout: Dropout | None = None
    residual: Residual | None = None
    attention: Attention | None = None


class Override(Table):
    """Keys that differ on some levels of the encoder or the decoder; without `levels`, on all of that part.

    A table replaces the spec's where its `kind` is another, and else only the keys that it names.
    """

    part: Part
    levels: Annotated[tuple[Annotated[int, Field(ge=0, lt=16)], ...], Field(strict=False)] | None = None
    block: dict[str, Any] | None = None
    conv: dict[str, Any] | None = None
    norm: dict[str, Any] | None = None
    activation: dict[str, Any] | None = None
    down: dict[str, Any] | None = None
    up: dict[str, Any] | None = None
    merge: dict[str, Any] | None = None
    dropout: dict[str, Any] | None = None
    residual: dict[str, Any] | None = None
    attention: dict[str, Any] | None = None

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # its tables are dicts, which have none

    def applied(self, at: Level, key: str) -> Level:
        """The level with these keys changed. Raises ValueError, where they make no sense, that names them by `key`."""
        values = at.model_dump()
        for name in Level.model_fields:
            change, before = getattr(self, name), values[name]
            if change is not None:
                is_another = before is None or change.get("kind", before.get("kind")) != before.get("kind")
                values[name] = change if is_another else before | change
        try:
            return Level.model_validate(values)
        except ValidationError as error:
            raise ValueError(describe(error, values, f"{key}.", Level)) from error
