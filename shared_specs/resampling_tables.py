"""The tables between the levels: down-sampling, up-sampling, and the merge with the skip."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .unit_tables import Activation, Margin, Norm, Order, PaddingMode, Size, SizeOrSkip, Table

UpWidth = Literal["half", "same", "skip", "decoder"]
"""Channels after up-sampling: half of those before, as many, those of the skip, or the width of the decoder level."""


class NoDown(Table):
    """No layer of its own: the resolution stays, or `conv.stride` of the block changes it."""

    kind: Literal["none"]


class MaxPool(Table):
    """Down-sampling by the maximum; windows that do not fit are left out (`rounding = "floor"`)."""

    kind: Literal["max_pool"]
    kernel: Size
    stride: Size
    padding: Margin
    rounding: Literal["floor"]


class AveragePool(Table):
    """Down-sampling by the mean; windows that do not fit are left out."""

    kind: Literal["average_pool"]
    kernel: Size
    stride: Size
    padding: Literal[0]
    rounding: Literal["floor"]


class DownConvolution(Table):
    """Down-sampling by a convolution of its own; `next` is the width of the level that it leads to."""

    kind: Literal["conv"]
    kernel: Size
    stride: Size
    padding: Margin
    bias: bool
    width: Literal["same", "next"]


Down = Annotated[NoDown | MaxPool | AveragePool | DownConvolution, Field(discriminator="kind")]


class UpUnit(Table):
    """A unit before or after up-sampling, with norm and activation of its own where its order has them."""

    kernel: Size
    padding: Margin
    padding_mode: PaddingMode
    bias: bool
    width: UpWidth
    order: Order
    norm: Norm
    activation: Activation


class NoUp(Table):
    """The resolution stays."""

    kind: Literal["none"]
    before: UpUnit | None = None
    after: UpUnit | None = None


class TransposedConvolution(Table):
    """Up-sampling by a transposed convolution."""

    kind: Literal["transposed_conv"]
    kernel: Size
    stride: Size
    padding: Margin
    output_padding: Margin
    bias: bool
    width: UpWidth
    before: UpUnit | None = None
    after: UpUnit | None = None


class Nearest(Table):
    """Up-sampling by repetition, by a factor or to the size of the skip. Output i takes input floor(i in / out)."""

    kind: Literal["nearest"]
    scale: SizeOrSkip
    before: UpUnit | None = None
    after: UpUnit | None = None


class Linear(Table):
    """Up-sampling by linear interpolation along each axis, by a factor or to the size of the skip."""

    kind: Literal["linear"]
    scale: SizeOrSkip
    align_corners: bool
    before: UpUnit | None = None
    after: UpUnit | None = None


class PixelShuffle(Table):
    """Up-sampling that turns channels into pixels (Shi et al. 2016, arXiv 1609.05158), scale^dimensions of them."""

    kind: Literal["pixel_shuffle"]
    scale: Annotated[int, Field(gt=0, le=64)]
    before: UpUnit | None = None
    after: UpUnit | None = None


Up = Annotated[NoUp | TransposedConvolution | Nearest | Linear | PixelShuffle, Field(discriminator="kind")]


class Merge(Table):
    """How a decoder level joins its skip with the upsampled map.

    `odd_difference` says how many of the rows that are cropped or padded lie before the map: "half_to_even" is
    `int(round(d / 2.0))` with Python's rounding, as torchvision's CenterCrop; "floor" is `d // 2`; "all_after" is
    none. `padding_mode` goes with `pad_upsampled` and `resize` with `resize_upsampled`. With `before_up` the maps
    are joined first, at the lower resolution, and then upsampled.
    """

    kind: Literal["concatenate", "sum", "none"]
    order: Annotated[tuple[Literal["skip", "upsampled"], ...], Field(strict=False)] | None = None
    size_mismatch: Literal["error", "crop_skip", "pad_upsampled", "resize_upsampled"] | None = None
    odd_difference: Literal["half_to_even", "floor", "all_after"] | None = None
    padding_mode: Literal["zeros", "reflect", "replicate"] | None = None
    resize: Literal["nearest", "linear", "linear_align_corners"] | None = None
    before_up: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        joins, mismatch = self.kind != "none", self.size_mismatch
        moved = mismatch in ("crop_skip", "pad_upsampled")
        for key, needed, reason in (
            ("order", self.kind == "concatenate", f"kind is {self.kind!r}"),
            ("size_mismatch", joins, f"kind is {self.kind!r}"),
            ("odd_difference", moved, f"size_mismatch is {mismatch!r}"),
            ("padding_mode", mismatch == "pad_upsampled", f"size_mismatch is {mismatch!r}"),
            ("resize", mismatch == "resize_upsampled", f"size_mismatch is {mismatch!r}"),
        ):
            value = getattr(self, key)
            if needed and value is None:
                raise ValueError(f"{key}: got none, expected {CHOICES[key]} as {reason}")
            if not needed and value is not None:
                raise ValueError(f"{key}: got {value!r}, expected none as {reason}")
        if self.order is not None and sorted(self.order) != ["skip", "upsampled"]:
            raise ValueError(f'order: got {list(self.order)}, expected "skip" and "upsampled", once each')
        return self

    def margin(self, difference: int) -> int:
        """Rows (or columns) cropped or padded before the map, of `difference` in all."""
        match self.odd_difference:
            case "half_to_even":
                return int(round(difference / 2.0))
            case "all_after":
                return 0
            case _:
                return difference // 2


CHOICES = {
    "order": '"skip" and "upsampled"',
    "size_mismatch": "'error', 'crop_skip', 'pad_upsampled' or 'resize_upsampled'",
    "odd_difference": "'half_to_even', 'floor' or 'all_after'",
    "padding_mode": "'zeros', 'reflect' or 'replicate'",
    "resize": "'nearest', 'linear' or 'linear_align_corners'",
}
