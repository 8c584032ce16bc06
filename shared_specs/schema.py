"""The schema of a U-Net: every choice on which two frameworks could differ is a field without a default."""

from __future__ import annotations

import hashlib
import math
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from . import layout
from .errors import SpecError, one_line
from .problems import describe, shorten

Positive = Annotated[int, Field(gt=0, le=65_536)]
NonNegative = Annotated[int, Field(ge=0, le=65_536)]
Real = Annotated[float, Field(allow_inf_nan=False)]

LARGEST_PARAMETER_COUNT = 10**10
"""A spec that describes more is a slip of the pen, caught before anything of that size is allocated."""

LARGEST_FILE_BYTES = 2**14
"""A spec takes about 1 KiB. The time that tomllib takes for a dotted key grows with the square of its length."""


class Table(BaseModel):
    """A TOML table: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Convolution(Table):
    """The convolutions of a block."""

    kernel: Positive
    stride: Literal[1]
    padding: NonNegative
    padding_mode: Literal["zeros"]
    bias: bool


class Block(Table):
    """The units of one level: each unit runs its layers in `order`."""

    convolutions: Annotated[int, Field(gt=0, le=64)]
    order: Annotated[tuple[Literal["conv", "norm", "activation"], ...], Field(strict=False)]


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


class GroupNorm(Table):
    """Group normalisation (Wu & He 2018, arXiv 1803.08494) with a scale and a shift per channel."""

    kind: Literal["group"]
    groups: Positive
    epsilon: Annotated[Real, Field(gt=0)]


class ReLU(Table):
    kind: Literal["relu"]


class LeakyReLU(Table):
    kind: Literal["leaky_relu"]
    slope: Annotated[Real, Field(ge=0, le=1)]


class Identity(Table):
    kind: Literal["identity"]


class MaxPool(Table):
    """Down-sampling by the maximum; windows that do not fit are left out (`rounding = "floor"`)."""

    kind: Literal["max_pool"]
    kernel: Positive
    stride: Positive
    padding: Literal[0]
    rounding: Literal["floor"]


class TransposedConvolution(Table):
    """Up-sampling by a transposed convolution that halves the width."""

    kind: Literal["transposed_conv"]
    kernel: Positive
    stride: Positive
    padding: NonNegative
    bias: bool
    width: Literal["half"]


class Bilinear(Table):
    """Up-sampling by bilinear interpolation; the width stays."""

    kind: Literal["bilinear"]
    scale: Annotated[int, Field(gt=0, le=64)]
    align_corners: bool


class Merge(Table):
    """How a decoder level joins its skip with the upsampled map.

    `odd_difference` is how half of an odd difference in size is rounded for the margin at the top and left:
    "half_to_even" is `int(round(d / 2.0))` with Python's rounding, as torchvision's CenterCrop; "floor" is
    `d // 2`. It is not given where a difference is an error.
    """

    kind: Literal["concatenate"]
    order: Annotated[tuple[Literal["skip", "upsampled"], ...], Field(strict=False)]
    size_mismatch: Literal["error", "crop_skip", "pad_upsampled"]
    odd_difference: Literal["half_to_even", "floor"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sorted(self.order) != ["skip", "upsampled"]:
            raise ValueError(f'order: got {list(self.order)}, expected "skip" and "upsampled", once each')
        if self.size_mismatch == "error" and self.odd_difference is not None:
            raise ValueError(f'odd_difference: got {self.odd_difference!r}, expected none as size_mismatch is "error"')
        if self.size_mismatch != "error" and self.odd_difference is None:
            raise ValueError(
                "odd_difference: got none, expected 'half_to_even' or 'floor' "
                f"as size_mismatch is {self.size_mismatch!r}"
            )
        return self

    def margin(self, difference: int) -> int:
        """Rows (or columns) cropped or padded before the map, of `difference` in all."""
        return int(round(difference / 2.0)) if self.odd_difference == "half_to_even" else difference // 2


class Head(Table):
    """The last convolution, from the features to the logits."""

    kernel: Positive
    padding: NonNegative
    bias: bool


class UNetSpec(Table):
    """One U-Net, as written in one TOML file. Level 0 is full resolution.

    Raises:
        SpecError: from the constructors `from_toml` and `narrow`, where the values describe no network.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    title: str
    source: str
    in_channels: Positive
    out_channels: Positive
    widths: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1, max_length=16)]
    block: Block
    conv: Convolution
    norm: Annotated[NoNorm | BatchNorm | GroupNorm, Field(discriminator="kind")]
    activation: Annotated[ReLU | LeakyReLU | Identity, Field(discriminator="kind")]
    down: Annotated[MaxPool, Field()]
    up: Annotated[TransposedConvolution | Bilinear, Field(discriminator="kind")]
    merge: Merge
    head: Head

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        expected = {"conv", "activation"} | ({"norm"} if self.norm.kind != "none" else set())
        if sorted(self.block.order) != sorted(expected):
            raise ValueError(
                f"block.order: got {shorten(list(self.block.order))}, "
                f"expected each of {', '.join(sorted(expected))} once as norm.kind is {self.norm.kind!r}"
            )
        if isinstance(self.up, TransposedConvolution):
            for level, width in enumerate(self.widths[1:], start=1):
                if width % 2:
                    raise ValueError(f"widths.{level}: got {width}, expected an even width as up.width is 'half'")
            if 2 * self.up.padding >= self.up.kernel + self.up.stride:
                raise ValueError(
                    f"up.padding: got {self.up.padding}, expected less than half of kernel + stride "
                    f"= {self.up.kernel + self.up.stride}, or nothing is left of two pixels"
                )
        if isinstance(self.norm, GroupNorm):
            for tensor in self.tensors:
                if tensor.leaf == "norm.weight" and tensor.shape[0] % self.norm.groups:
                    raise ValueError(
                        f"norm.groups: got {self.norm.groups}, expected a divisor of the {tensor.shape[0]} channels "
                        f"of {tensor.name.removesuffix('.weight')}"
                    )
        if self.parameter_count > LARGEST_PARAMETER_COUNT:
            raise ValueError(
                f"widths: got a network of {self.parameter_count:,} parameters, "
                f"expected at most {LARGEST_PARAMETER_COUNT:,}; take smaller widths or kernels"
            )
        return self

    @property
    def levels(self) -> int:
        """How many resolutions there are, the full one included."""
        return len(self.widths)

    @cached_property
    def layers(self) -> tuple[layout.Layer, ...]:
        """Every layer in the order of execution, with its canonical name."""
        return tuple(layout.layers(self))

    @cached_property
    def tensors(self) -> tuple[layout.Tensor, ...]:
        """Every canonical tensor in the order of execution: parameters and normalisation state."""
        return tuple(tensor for layer in self.layers for tensor in layer.tensors)

    def tensor(self, name: str) -> layout.Tensor:
        """The canonical tensor of this name. Raises KeyError."""
        return self._tensors_by_name[name]

    @cached_property
    def _tensors_by_name(self) -> dict[str, layout.Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(tensor.size for tensor in self.tensors if tensor.trainable)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that shapes the function; titles and sources do not count."""
        text = self.model_dump_json(exclude={"name", "title", "source"})
        return hashlib.sha256(text.encode()).hexdigest()

    def narrow(self, divisor: int) -> UNetSpec:
        """The same network with every width divided by `divisor`, for quick checks.

        Raises:
            SpecError: where a width cannot be divided.
        """
        if divisor < 1 or any(width % divisor for width in self.widths):
            most = math.gcd(*self.widths)
            raise SpecError(
                f"{self.name}: widths {list(self.widths)} cannot all be divided by {divisor}; "
                f"take one of {', '.join(str(d) for d in range(1, most + 1) if most % d == 0)}"
            )
        if divisor == 1:
            return self
        values = self.model_dump()
        values["widths"] = [width // divisor for width in self.widths]
        return _validated(values, origin=f"{self.name} narrow by {divisor}")

    @classmethod
    def from_toml(cls, path: str | Path) -> UNetSpec:
        """Read one spec file.

        Raises:
            SpecError: naming the file, the key, what it got and what it takes.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE_BYTES + 1)
            if len(content) > LARGEST_FILE_BYTES:
                raise SpecError(f"{path}: is larger than {LARGEST_FILE_BYTES} bytes; expected a spec file in TOML")
            values = tomllib.loads(content.decode("utf-8"))
        except OSError as error:
            raise SpecError(f"{path}: cannot be read ({error.strerror}); expected a spec file in TOML") from error
        except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, an integer of thousands of digits
            raise SpecError(f"{path}: is not TOML ({one_line(str(error))}); mend the file there") from error
        return _validated(values, origin=str(path))


def _validated(values: dict[str, Any], origin: str) -> UNetSpec:
    try:
        return UNetSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError(f"{origin}: {describe(error, values)}") from error
