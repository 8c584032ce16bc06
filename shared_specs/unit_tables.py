"""The tables of a unit: convolution, norm, activation, dropout, and the types that all tables share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Positive = Annotated[int, Field(gt=0, le=65_536)]
NonNegative = Annotated[int, Field(ge=0, le=65_536)]
Real = Annotated[float, Field(allow_inf_nan=False)]


def _form(value: Any) -> str:
    """Which member of the union a value is meant to be, so that an error speaks of that one alone."""
    return "axes" if isinstance(value, list | tuple) else "number"


# How many numbers there must be, as many as the spec has dimensions, is checked by `consistency`.
Size = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[tuple[Positive, ...], Field(strict=False), Tag("axes")],
    Discriminator(_form),
]
"""One number for every axis, or one for each: (height, width), or (depth, height, width)."""
Margin = Annotated[
    Annotated[NonNegative, Tag("number")] | Annotated[tuple[NonNegative, ...], Field(strict=False), Tag("axes")],
    Discriminator(_form),
]
SizeOrSkip = Annotated[
    Annotated[Size, Tag("size")] | Annotated[Literal["skip"], Tag("skip")],
    Discriminator(lambda value: "skip" if isinstance(value, str) else "size"),
]


def by_axis(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """A `Size` or a `Margin` with its number for each axis."""
    return (value,) * dimensions if isinstance(value, int) else value


PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Step = Literal["conv", "norm", "activation", "dropout"]
Order = Annotated[tuple[Step, ...], Field(strict=False)]


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
    """Group normalisation (Wu & He 2018, arXiv 1803.08494) with a scale and a shift per channel.

    `fewer_channels` says what becomes of a map with fewer channels than groups, such as the images in front of which
    a norm stands; where it is absent, such a map is an error.
    """

    kind: Literal["group"]
    groups: Positive
    epsilon: Annotated[Real, Field(gt=0)]
    fewer_channels: Literal["one_group"] | None = None

    def of(self, channels: int) -> GroupNorm:
        """The norm of a map with so many channels."""
        has_one = self.fewer_channels == "one_group" and channels < self.groups
        return self.model_copy(update={"groups": 1}) if has_one else self


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
