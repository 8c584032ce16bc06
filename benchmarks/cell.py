"""A cell: one thing to time. Two cells of one comparison differ only in backend and tuning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from backends.contract import PHASES, PRECISIONS, Execution
from shared_specs import Recipe, TandemError, UNetSpec, load_spec
from shared_specs.shapes import Shape, feature_shapes, size_label

from . import contestants, machine

Count = Annotated[int, Field(gt=0, lt=2**31)]


class CellError(TandemError):
    """A cell that cannot be: an unknown name, or a size that nobody could mean."""


class Cell(BaseModel):
    """One thing to time.

    Attributes:
        spec: name in the zoo, or path to a TOML file.
        narrow: divisor of every width.
        size: (height, width), or (depth, height, width), of the images, in pixels.
        seed: of the initial weights and of the batch.
        replicas: how many train together, each on a device of its own; `batch` is that of all of them.
        cores: of a CPU, those of each process; None for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: str
    backend: str
    phase: str
    size: Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)]
    batch: Count
    narrow: Count = 1
    tuning: str = "default"
    precision: str = "float32"
    device: str = "cpu"
    seed: Annotated[int, Field(ge=0)] = 0
    recipe: Recipe = Recipe()
    replicas: Count = 1
    cores: Count | None = None

    @model_serializer(mode="wrap")
    def _without_later_keys(self, handler: SerializerFunctionWrapHandler):
        """A key that came later says nothing where it is as ever: records and their names stay as they were."""
        values = handler(self)
        return {key: value for key, value in values.items() if (key, value) not in (("replicas", 1), ("cores", None))}

    @property
    def spec_label(self) -> str:
        """`unet_bn_same`, or `unet_bn_same_narrow4`."""
        name = Path(self.spec).stem if self.spec.endswith(".toml") else self.spec
        return name if self.narrow == 1 else f"{name}_narrow{self.narrow}"

    @property
    def shape_label(self) -> str:
        return f"{self.batch}x{size_label(self.size)}"

    @property
    def is_alone(self) -> bool:
        """Whether one process has the machine, or the device, to itself."""
        return self.replicas == 1 and self.cores is None

    @property
    def where(self) -> str:
        """ "cpu", "2 processes of 1 core each" or "4 cuda devices"."""
        if self.is_alone:
            return self.device
        if self.cores is None:
            return f"{self.replicas} {self.device} devices"
        processes = "1 process" if self.replicas == 1 else f"{self.replicas} processes"
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{processes} of {cores}{' each' if self.replicas > 1 else ''}"

    @property
    def id(self) -> str:
        """Readable: `unet_bn_same_narrow4-pytorch-default-float32-2x96x96-train_step-cpu`."""
        where = self.where.replace(" ", "_")
        parts = (self.spec_label, self.backend, self.tuning, self.precision, self.shape_label, self.phase, where)
        return "-".join(part.replace(":", "") for part in parts)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of all that makes the cell, for file names: seed, recipe and spec file too."""
        # A key that came later says nothing where it is as ever: records keep their names.
        later = {"batch_statistics"} if self.recipe.batch_statistics == "global" else set()
        text = self.network.fingerprint + self.model_dump_json(exclude={"spec": True, "recipe": later})
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def group(self) -> str:
        """What is equal among the cells that are compared with each other: all but backend and tuning."""
        shared = self.model_copy(update={"backend": "", "tuning": ""})
        where = self.where.replace(" ", "_")
        return f"{self.spec_label}-{self.precision}-{self.shape_label}-{self.phase}-{where}-{shared.digest}"

    @cached_property
    def network(self) -> UNetSpec:
        """The spec, narrowed. Raises SpecError."""
        return load_spec(self.spec).narrow(self.narrow)

    @property
    def images_shape(self) -> Shape:
        """(N, C, H, W)."""
        return (self.batch, self.network.in_channels, *self.size)

    @property
    def execution(self) -> Execution:
        return Execution(self.device, self.precision, self.tuning)

    @property
    def lacks(self) -> str | None:
        """What the backend cannot do of this cell, as in "has no phase 'train_step' (inference only)", or None."""
        return contestants.lacks(contestants.capabilities(self.backend), self.execution, self.phase)

    def batch_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Seeded images (N, C, H, W), standard normal in float64, and labels (N, H', W'), random classes."""
        random = np.random.default_rng([self.seed, *self.images_shape])
        count, _, *size = feature_shapes(self.network, self.images_shape)[self.network.logits]
        labels = (count, *size)
        return random.standard_normal(self.images_shape), random.integers(0, self.network.classes, labels)

    def check(self, devices: Sequence[str] | None = None) -> None:
        """Refuse, before any work, what cannot be timed.

        Args:
            devices: those that there are, where the cell is timed on another machine; by default those of this one.

        Raises:
            CellError: for an unknown phase, precision, device or backend, or a backend whose framework is missing.
            SpecError, ShapeError: where the spec cannot be read or cannot take the images.
        """
        for what, value, choices in (
            ("phase", self.phase, PHASES),
            ("precision", self.precision, PRECISIONS),
            ("device", self.device, devices or machine.devices()),
        ):
            if value not in choices:
                more = "; `tandem doctor` says what works here" if what == "device" and devices is None else ""
                raise CellError(f"no {what} is named {value!r}; take one of {', '.join(choices)}{more}")
        reason = contestants.missing(self.backend)
        if reason:
            raise CellError(reason)
        if self.tuning not in (known := contestants.capabilities(self.backend).tunings):
            raise CellError(f"{self.backend} has no tuning {self.tuning!r}; take one of {', '.join(known)}")
        if self.precision == "tf32" and self.device == "cpu":
            raise CellError("tf32 is a precision of NVIDIA GPUs; on a CPU take float32 or bfloat16")
        feature_shapes(self.network, self.images_shape)
        if self.replicas > 1:
            self._check_replicas()

    def _check_replicas(self) -> None:
        """Raises CellError where so many replicas cannot train on this batch."""
        if self.phase != "train_step":
            raise CellError(f"replicas train together, and {self.phase} is no training; take --phase train_step")
        if lacking := contestants.capabilities(self.backend).lacks(replicas=self.replicas):
            raise CellError(f"{self.backend} {lacking}")
        if self.batch % self.replicas:
            raise CellError(f"a batch of {self.batch} does not divide among {self.replicas} replicas")
