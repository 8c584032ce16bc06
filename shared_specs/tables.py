"""The tables of a spec file: each layer's choices, every one on which two frameworks could differ.

No key has a default, but for those that add something: where they are absent, it is not there.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0, le=65_536)]
NonNegative = Annotated[int, Field(ge=0, le=65_536)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Size = Positive | Annotated[tuple[Positive, ...], Field(strict=False, min_length=2, max_length=3)]
"""One number for every axis, or one for each: (height, width), or (depth, height, width)."""
Margin = NonNegative | Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=2, max_length=3)]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Step = Literal["conv", "norm", "activation", "dropout"]
Order = Annotated[tuple[Step, ...], Field(strict=False)]
UpWidth = Literal["half", "same", "skip", "decoder"]
"""Channels after up-sampling: half of those before, as many, those of the skip, or the width of the decoder level."""


class Table(BaseModel):
    """A TOML table: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Convolution(Table):
    """The convolutions of a block. The first one of a block has the stride, the others have stride 1."""

    kernel: Size
    stride: Size
    padding: Margin
    padding_mode: PaddingMode
    dilation: Size
    bias: bool


class Block(Table):
    """The units of one level: each unit runs its steps in `order`."""

    convolutions: Annotated[int, Field(ge=0, le=64)]
    order: Order


class NoNorm(Table):
    kind: Literal["none"]


class BatchNorm(Table):
    """Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), with the biased variance of the batch.

    `momentum` is the weight of the new batch in the running statistics (PyTorch's convention; Flax's is
    1 - momentum). `running_variance` says which estimator is kept for evaluation: PyTorch keeps the unbiased
    one, Flax the biased one.
    """

    kind: Literal["batch"]
    epsilon: Annotated[Real, Field(gt=0)]
    momentum: Annotated[Real, Field(gt=0, le=1)]
    running_variance: Literal["unbiased", "biased"]


class InstanceNorm(Table):
    """Instance normalisation (Ulyanov et al. 2016, arXiv 1607.08022): each channel of each image by itself."""

    kind: Literal["instance"]
    epsilon: Annotated[Real, Field(gt=0)]
    affine: bool


class GroupNorm(Table):
    """Group normalisation (Wu & He 2018, arXiv 1803.08494) with a scale and a shift per channel."""

    kind: Literal["group"]
    groups: Positive
    epsilon: Annotated[Real, Field(gt=0)]


class LayerNorm(Table):
    """Layer normalisation (Ba et al. 2016, arXiv 1607.06450) over the channels of each pixel, with scale and shift.

    Over all of an image it is `group` with one group.
    """

    kind: Literal["layer"]
    epsilon: Annotated[Real, Field(gt=0)]


Norm = Annotated[NoNorm | BatchNorm | InstanceNorm | GroupNorm | LayerNorm, Field(discriminator="kind")]


class ReLU(Table):
    kind: Literal["relu"]


class LeakyReLU(Table):
    kind: Literal["leaky_relu"]
    slope: Annotated[Real, Field(ge=0, le=1)]


class PReLU(Table):
    """Leaky ReLU with a learned slope (He et al. 2015, arXiv 1502.01852), one for all channels or one for each."""

    kind: Literal["prelu"]
    slopes: Literal["one", "per_channel"]


class ELU(Table):
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016, arXiv 1511.07289)."""

    kind: Literal["elu"]
    alpha: Annotated[Real, Field(gt=0)]


class GELU(Table):
    """Hendrycks & Gimpel 2016, arXiv 1606.08415: x times the normal distribution's CDF, exact or by a tanh."""

    kind: Literal["gelu"]
    approximation: Literal["none", "tanh"]


class SiLU(Table):
    kind: Literal["silu"]


class Tanh(Table):
    kind: Literal["tanh"]


class Sigmoid(Table):
    kind: Literal["sigmoid"]


class Identity(Table):
    kind: Literal["identity"]


Activation = Annotated[
    ReLU | LeakyReLU | PReLU | ELU | GELU | SiLU | Tanh | Sigmoid | Identity, Field(discriminator="kind")
]


class Dropout(Table):
    """Zeroes elements in training. What is random cannot be compared: checks and timed programs run without it."""

    rate: Annotated[Real, Field(ge=0, lt=1)]


class Residual(Table):
    """A sum over units (He et al. 2016, arXiv 1512.03385): each shortcut bridges `span` convolutions of a block.

    `last_activation` says where the activation of the last unit stands. Where the stride or the width changes, the
    shortcut has the stride, by average pooling or by its convolution, and a convolution where there is something
    for it to do; else it is the identity.
    """

    span: Annotated[int, Field(gt=0, le=64)]
    last_activation: Literal["before_sum", "after_sum"]
    stride_by: Literal["average_pool", "conv"]
    kernel: Size
    padding: Margin
    bias: bool
    norm: bool


class Attention(Table):
    """A gate on the skip (Oktay et al. 2018, arXiv 1804.03999): psi = sigmoid(W relu(W_gate up + W_skip skip)).

    All convolutions are 1x1; the first two have half the channels of the skip, and each is followed by the norm.
    """

    width: Literal["half"]
    bias: bool
    norm: Norm


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
    scale: Size | Literal["skip"]
    before: UpUnit | None = None
    after: UpUnit | None = None


class Linear(Table):
    """Up-sampling by linear interpolation along each axis, by a factor or to the size of the skip."""

    kind: Literal["linear"]
    scale: Size | Literal["skip"]
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


class Head(Table):
    """The last convolution, from the features to the logits, with a norm and an activation after it where given."""

    kernel: Size
    padding: Margin
    bias: bool
    norm: Norm | None = None
    activation: Activation | None = None


class DeepSupervision(Table):
    """Heads on deeper decoder levels (Lee et al. 2015, arXiv 1409.5185), for the loss in training alone.

    The loss is the sum of each head's cross-entropy times its weight, the final head's first. Labels are brought to
    a deeper map's size by nearest neighbours: output i takes label floor(i in / out).
    """

    levels: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
    weights: Annotated[tuple[Annotated[Real, Field(ge=0)], ...], Field(strict=False, min_length=2)]
