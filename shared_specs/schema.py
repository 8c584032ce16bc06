"""The schema of a U-Net: one TOML file, checked as a whole, and what it says of each level."""

from __future__ import annotations

import hashlib
import math
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from . import consistency, layout, network
from .errors import SpecError, one_line
from .keymap import Checkpoint
from .levels import Level, Override, Part
from .problems import describe
from .tables import (
    DeepSupervision,
    DownConvolution,
    Head,
    Positive,
)

LARGEST_PARAMETER_COUNT = 10**10
"""A spec that describes more is a slip of the pen, caught before anything of that size is allocated."""

LARGEST_FILE_BYTES = 2**15
"""A spec takes about 1 KiB. The time that tomllib takes for a dotted key grows with the square of its length."""

Widths = Annotated[tuple[Positive, ...], Field(strict=False, max_length=16)]


class UNetSpec(Level):
    """One U-Net, as written in one TOML file. Level 0 is full resolution.

    Attributes:
        widths: output channels of each encoder level.
        middle_widths: channels after every convolution of an encoder block but the last; as `widths` where absent.
        decoder_widths: the same of the decoder, from level 0 down; as the encoder's where absent.
        decoder_middle_widths: the middle of the decoder's blocks; as `decoder_widths` where absent.
        nested: decoder nodes at every level that reach all former maps of it (U-Net++, Zhou et al. 2018,
            arXiv 1807.10165).
        checkpoint: how the original implementation names its tensors.

    Raises:
        SpecError: from the constructors `from_toml` and `narrow`, where the values describe no network.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    title: str
    source: str
    citation: str = ""
    licence: str = ""
    dimensions: Literal[2, 3]
    in_channels: Positive
    out_channels: Positive
    widths: Annotated[Widths, Field(min_length=1)]
    middle_widths: Widths | None = None
    decoder_widths: Widths | None = None
    decoder_middle_widths: Widths | None = None
    nested: bool = False
    head: Head | None = None
    deep_supervision: DeepSupervision | None = None
    checkpoint: Checkpoint | None = None
    override: Annotated[tuple[Override, ...], Field(strict=False, max_length=64)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        consistency.check(self)
        if self.parameter_count == 0:
            raise ValueError(
                "block.convolutions: got a network without parameters, expected some convolution or a head"
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

    def at(self, part: Part, level: int) -> Level:
        """What holds at one level of the encoder or the decoder."""
        return self._resolved[part, level]

    @cached_property
    def _resolved(self) -> dict[tuple[str, int], Level]:
        """Raises ValueError, naming the override, where one makes no sense."""
        base = {name: getattr(self, name) for name in Level.model_fields}
        found: dict[tuple[str, int], Level] = {}
        for part, levels in (("encoder", self.levels), ("decoder", self.levels - 1)):
            for level in range(levels):
                at = Level.model_construct(**base)
                for number, override in enumerate(self.override):
                    if override.part == part and (override.levels is None or level in override.levels):
                        at = override.applied(at, f"override.{number}")
                found[part, level] = at
        return found

    def width(self, part: Part, level: int) -> int:
        """Channels at the end of a level's block."""
        widths = {"encoder": self.widths, "decoder": self.decoder_widths}[part]
        return self.widths[level] if widths is None else widths[level]

    def middle_width(self, part: Part, level: int) -> int:
        """Channels after every convolution of a level's block but the last."""
        middle = {"encoder": self.middle_widths, "decoder": self.decoder_middle_widths}[part]
        return self.width(part, level) if middle is None else middle[level]

    @cached_property
    def layers(self) -> tuple[layout.Layer, ...]:
        """Every layer in the order of execution, with its canonical name."""
        return tuple(network.layers(self))

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
    def classes(self) -> int:
        """How many labels there are. A network of one logit tells two classes apart: it is that of class 1 beside 0."""
        return max(2, self.out_channels)

    @property
    def logits(self) -> str:
        """The name of the layer whose output are the logits."""
        return [layer for layer in self.layers if not layer.is_deep][-1].name

    @property
    def deep_logits(self) -> tuple[str, ...]:
        """The names of the heads of deep supervision, in the order of its levels."""
        return tuple(layer.name for layer in self.layers if layer.is_deep)

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """Of each head's cross-entropy in the loss, the final head's first, then those of `deep_logits`."""
        return (1.0,) if self.deep_supervision is None else self.deep_supervision.weights

    @property
    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(tensor.size for tensor in self.tensors if tensor.trainable)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that shapes the function; titles and sources do not count."""
        text = self.model_dump_json(exclude={"name", "title", "source", "citation", "licence", "checkpoint"})
        return hashlib.sha256(text.encode()).hexdigest()

    def narrow(self, divisor: int) -> UNetSpec:
        """The same network with every width divided by `divisor`, for quick checks.

        What is given from without is kept: the width of a level that only hands on the images, and that of the
        logits in a network without a head.

        Raises:
            SpecError: where a width cannot be divided.
        """
        keys = [key for key in WIDTHS if getattr(self, key) is not None]
        most = math.gcd(
            *(width for key in keys for level, width in enumerate(getattr(self, key)) if self._is_divided(key, level))
        )
        if divisor < 1 or most % divisor:
            numbers = range(1, max(most, 1) + 1)  # where nothing is divided, 1 is the one to name
            fitting = ", ".join(str(number) for number in numbers if self._can_narrow(number, most))
            raise SpecError(
                f"{self.name}: {' and '.join(f'{key} {list(getattr(self, key))}' for key in keys)} "
                f"cannot all be divided by {divisor}; take one of {fitting}"
            )
        if divisor == 1:
            return self
        values = self.model_dump()
        for key in keys:
            values[key] = [
                width // divisor if self._is_divided(key, level) else width for level, width in enumerate(values[key])
            ]
        return _validated(values, origin=f"{self.name} narrow by {divisor}")

    def _can_narrow(self, divisor: int, most: int) -> bool:
        """Whether a number divides every width, and what is left still suits norms and halves."""
        if most % divisor:
            return False
        try:
            self.narrow(divisor)
        except SpecError:
            return False
        return True

    def _is_divided(self, key: str, level: int) -> bool:
        part: Part = "decoder" if key.startswith("decoder") else "encoder"
        if "middle" in key:
            return self.at(part, level).block.convolutions > 1  # else nothing has this width
        makes_logits = self.head is None and level == 0
        if part == "decoder":
            return not makes_logits
        if makes_logits and (self.levels == 1 or self.decoder_widths is None):
            return False
        at = self.at("encoder", level)
        if at.block.convolutions or level == 0:
            return at.block.convolutions > 0
        is_of_down = isinstance(at.down, DownConvolution) and at.down.width == "next"
        return is_of_down or self._is_divided(key, level - 1)

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
            values = tomllib.loads(content.decode())
        except OSError as error:
            raise SpecError(f"{path}: cannot be read ({error.strerror}); expected a spec file in TOML") from error
        except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, an integer of thousands of digits
            raise SpecError(f"{path}: is not TOML ({one_line(str(error))}); mend the file there") from error
        return _validated(values, origin=str(path))


WIDTHS = ("widths", "middle_widths", "decoder_widths", "decoder_middle_widths")


def _validated(values: dict[str, Any], origin: str) -> UNetSpec:
    try:
        return UNetSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError(f"{origin}: {describe(error, values, model=UNetSpec)}") from error
