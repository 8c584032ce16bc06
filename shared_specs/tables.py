"""The tables of a spec file: each layer's choices, every one on which two frameworks could differ.

No key has a default, but for those that add something: where they are absent, it is not there. The tables of a
unit and of the way between two levels have files of their own; all of them are named here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .resampling_tables import (
    CHOICES,
    AveragePool,
    Down,
    DownConvolution,
    Linear,
    MaxPool,
    Merge,
    Nearest,
    NoDown,
    NoUp,
    PixelShuffle,
    TransposedConvolution,
    Up,
    UpUnit,
    UpWidth,
)
from .unit_tables import (
    ELU,
    GELU,
    Activation,
    BatchNorm,
    Block,
    Convolution,
    Dropout,
    GroupNorm,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    Margin,
    NonNegative,
    NoNorm,
    Norm,
    Order,
    PaddingMode,
    Positive,
    PReLU,
    Real,
    ReLU,
    Sigmoid,
    SiLU,
    Size,
    SizeOrSkip,
    Step,
    Table,
    Tanh,
)

__all__ = [
    "CHOICES",
    "ELU",
    "GELU",
    "Activation",
    "Attention",
    "AveragePool",
    "BatchNorm",
    "Block",
    "Convolution",
    "DeepSupervision",
    "Down",
    "DownConvolution",
    "Dropout",
    "GroupNorm",
    "Head",
    "Identity",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Margin",
    "MaxPool",
    "Merge",
    "Nearest",
    "NoDown",
    "NoNorm",
    "NoUp",
    "NonNegative",
    "Norm",
    "Order",
    "PReLU",
    "PaddingMode",
    "PixelShuffle",
    "Positive",
    "ReLU",
    "Real",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Size",
    "SizeOrSkip",
    "Step",
    "Table",
    "Tanh",
    "TransposedConvolution",
    "Up",
    "UpUnit",
    "UpWidth",
]


class Residual(Table):
    """A sum over units (He et al. 2016, arXiv 1512.03385): each shortcut bridges `span` convolutions of a block.

    `last_activation` says where the activation of the last unit stands. Where the stride or the width changes, the
    shortcut has the stride, by average pooling or by its convolution, and a convolution where there is something
    for it to do; else it is the identity. The first `stem` convolutions of the block come before the first shortcut.
    """

    span: Annotated[int, Field(gt=0, le=64)]
    stem: NonNegative = 0
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
