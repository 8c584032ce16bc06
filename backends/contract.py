"""The contract between Tandem and a framework. Arrays cross it as NumPy, images as (N, C, H, W)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shared_specs import Recipe, TandemError, UNetSpec
from shared_specs.weights import Weights

from . import batch_checks
from .capabilities import Capabilities
from .devices import too_few_for, usable_core_count
from .execution import PHASES, Execution
from .precision import PRECISIONS, TIE_WIDTH, UNIT_ROUNDOFF, RoundingNoise
from .workload import CompileReport, Load, LoadSizes

if TYPE_CHECKING:
    from .replicas.model import ReplicatedModel

__all__ = [
    "PHASES",
    "PRECISIONS",
    "TIE_WIDTH",
    "UNIT_ROUNDOFF",
    "Backend",
    "BackendError",
    "Capabilities",
    "Execution",
    "Model",
    "ReferenceBackend",
    "RoundingNoise",
    "StepResult",
    "WeightsOf",
    "check_phase",
    "copy_weights",
]


class BackendError(TandemError):
    """A backend that is not installed, or that cannot run what was asked for."""


@dataclass(frozen=True)
class StepResult:
    """What one step computed, in canonical names and layouts."""

    loss: float
    logits: np.ndarray  # (N, classes, H, W)
    gradients: dict[str, np.ndarray]  # by canonical tensor name
    image_gradient: np.ndarray  # (N, C, H, W)


class Model(ABC):
    """One network of one framework, ready to run. Nothing it returns shares memory with it."""

    spec: UNetSpec
    execution: Execution
    recipe: Recipe
    phases: tuple[str, ...] = PHASES
    """Those that it has. Without training, `loss_and_gradients` and `train_step` raise BackendError."""
    has_canonical_weights: bool = True
    """False for another network, which is only timed beside those that were built from the spec, and for a user's own
    module of whose tensors some are known: those are compared."""

    @abstractmethod
    def load_weights(self, weights: Weights) -> None:
        """Take canonical weights and forget the optimizer's state.

        Raises:
            WeightsError: listing all that is missing, unexpected, misshapen or not finite; nothing is taken then.
        """

    @abstractmethod
    def read_tensor(self, name: str) -> np.ndarray:
        """One canonical tensor, as a copy."""

    def weights(self) -> dict[str, np.ndarray]:
        """All canonical tensors, normalisation state too."""
        return dict(WeightsOf(self))

    @abstractmethod
    def parameter_count(self) -> int:
        """The number of trainable parameters, counted by the framework in the module that it built."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, np.ndarray]:
        """The optimizer's state as "slot/tensor": "momentum/head.weight", "first_moment/head.weight", "step"."""

    @abstractmethod
    def forward(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, classes, H, W) in evaluation mode for images (N, C, H, W)."""

    @abstractmethod
    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every layer's output (N, C, H, W) in evaluation mode, by canonical layer name, in order."""

    @abstractmethod
    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        """Loss and gradients in training mode: normalisation state moves, weights stay. Dropout is left out.

        Args:
            images: (N, C, H, W).
            labels: integers (N, H, W) of the size of the logits. Where there is one logit, they are 0 and 1, and it
                is that of class 1 beside a 0 for class 0.
        """

    @abstractmethod
    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        """One optimizer step in training mode: weights, normalisation and optimizer state move."""

    @abstractmethod
    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], Any]:
        """The very thing that is timed: puts the batch on the device and returns a callable, whose first call may
        compile, that enqueues one step of the phase and returns its output tree on the device.

        A forward program may take the weights as they are now, and need not see them change."""

    @abstractmethod
    def fetch(self, outputs: Any) -> dict[str, np.ndarray]:
        """The output tree of a program as NumPy: "logits", "loss" and "gradient/NAME", as the phase has them."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that was enqueued."""

    def flags(self) -> dict[str, str]:
        """The switches of the framework that decide on precision, read back as they stand while a step runs."""
        return {}

    @abstractmethod
    def effective_precision(self) -> str:
        """The precision in which products are really computed, read back from the switches or from the program.

        It is one of PRECISIONS where the framework does what was asked of it; benchmarks refuse what differs.
        """

    def compile_report(self) -> CompileReport:
        """What was compiled so far. Nothing, where a framework does not compile."""
        return CompileReport()

    def check_images(self, images: np.ndarray) -> None:
        """Refuse images that the network cannot take, in the same words for every backend.

        Raises:
            ShapeError: naming the level and the sizes where the image does not fit, or the norm that would see one
                value a group, which PyTorch refuses.
        """
        batch_checks.check_images(self.spec, images)

    def check_step(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Refuse images and labels that no training step can take, in the same words for every backend.

        Raises:
            ShapeError: where the images do not fit, where the labels are not integers (N, H, W) of the logits'
                size and in range, or where batch norm would see one value a channel, which has no variance.
        """
        self.check_images(images)
        batch_checks.check_labels(self.spec, images, labels)


class Backend(ABC):
    """A framework that can build a spec. Keep the constructor free of imports of the framework's heavy parts."""

    name: str
    capabilities: Capabilities

    @abstractmethod
    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> Model:
        """Build the network with the seeded initial weights of `shared_specs`.

        Raises:
            BackendError: where the device, precision or tuning is not one that this backend has.
        """

    def knobs(self, execution: Execution) -> dict[str, str]:
        """What the tuning of an execution turns, for the records: the name of each knob and its setting."""
        return {}

    def loads(self, execution: Execution, sizes: LoadSizes) -> list[Load]:
        """Work that bounds what a network can reach: "matrix product", "convolution" and "copy". May be none."""
        return []

    @abstractmethod
    def devices(self) -> list[str]:
        """The devices that this backend can run on here, for instance ["cpu", "cuda:0"]."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """The versions of the framework and of the libraries it loaded, for the records."""

    def lacks_replicas(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> str | None:
        """What it lacks to train several replicas of the network by the recipe, as a clause after its name, or None."""
        return self.capabilities.lacks(execution, replicas=2)

    def join_replicas(self, rank: int, replicas: int, execution: Execution) -> Execution:
        """Make this process one of several that train together. Call it once, before anything is built.

        Returns:
            The execution on the device of this rank.

        Raises:
            BackendError: where this backend trains on one device only, or finds no device for the rank.
        """
        raise BackendError(f"{self.name} {self.capabilities.lacks(replicas=2) or 'cannot join replicas'}")

    def build_replica(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> Model:
        """One of the replicas, in a process that has joined the others.

        What it is given is its own part of a batch, of which all have the same size, and every replica takes the same
        steps. Its `StepResult` has the loss and the parameters' gradients of the whole batch; logits are those of its
        own images, and so is `image_gradient`, of the whole batch's loss. Of statistics that are not global it has
        its own.
        """
        raise BackendError(f"{self.name} {self.capabilities.lacks(replicas=2) or 'builds no replica'}")

    def leave_replicas(self) -> None:  # noqa: B027 (not every engine has to be left)
        """Part from the others."""

    def check_execution(self, execution: Execution) -> None:
        """Refuse what this backend cannot run. Raises BackendError."""
        if lacking := self.capabilities.lacks(execution):
            raise BackendError(f"{self.name} {lacking}")
        devices, kind = self.devices(), execution.device_kind
        if execution.device not in devices and execution.device not in {name.partition(":")[0] for name in devices}:
            raise BackendError(
                f"{self.name} finds no {kind} device {execution.device!r}; it has {', '.join(devices)}; "
                "`tandem doctor` says what works here"
            )

    def check_replicas(self, execution: Execution, replicas: int) -> None:
        """Refuse replicas for which there are not devices, or cores, enough. Raises BackendError."""
        kind = execution.device_kind
        if execution.device != kind:
            raise BackendError(f"{execution.device} is one device, and replicas take one each; give {kind}")
        found = usable_core_count() if kind == "cpu" else sum(device.startswith(kind) for device in self.devices())
        if problem := too_few_for(replicas, kind, found):
            raise BackendError(problem)


class ReferenceBackend(Backend):
    """A backend that can also re-run itself in float64 under rounding noise."""

    @abstractmethod
    def build_noisy(
        self, spec: UNetSpec, noise: RoundingNoise, recipe: Recipe = Recipe(), device: str = "cpu"
    ) -> Model:
        """Build the network in float64 so that inputs, weights and every operation's output carry the noise.

        Raises:
            BackendError: where the device is not one that this backend has.
        """

    def build_replicas(
        self, spec: UNetSpec, recipe: Recipe, replicas: int, noise: RoundingNoise | None = None
    ) -> ReplicatedModel:
        """What replicas that train together compute, in this process and in float64, with or without the noise.

        Raises:
            BackendError: where this backend does not say.
        """
        raise BackendError(f"{self.name} is no reference for several replicas; take numpy_reference")


@dataclass(frozen=True)
class WeightsOf(Mapping[str, np.ndarray]):
    """A model's weights, read one tensor at a time, so that copying them needs no third copy in memory."""

    model: Model
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(tensor.name for tensor in self.model.spec.tensors))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        return self.model.read_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def copy_weights(source: Model, target: Model) -> None:
    """Copy all weights and normalisation state from one model to another, tensor by tensor.

    Raises:
        WeightsError: where the two are not of the same spec.
    """
    target.load_weights(WeightsOf(source))


def check_phase(phase: str) -> None:
    """Refuse a phase that is not in PHASES. Raises BackendError."""
    if phase not in PHASES:
        raise BackendError(f"no phase is named {phase!r}; take one of {', '.join(PHASES)}")
