"""What parity asks of several replicas that train together, wherever they run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from shared_specs import Recipe, ShapeError, UNetSpec
from shared_specs.weights import Weights, check_weights

from ..contract import Execution, Model, StepResult, check_phase

if TYPE_CHECKING:
    from .group import ReplicaGroup


class ReplicatedModel(Model):
    """Replicas of one network, as one model that is given whole batches.

    Its loss and gradients are those of the whole batch; its weights, statistics and optimizer state are rank 0's.
    """

    replicas: int

    @property
    def statistics_are_global(self) -> bool:
        """Whether all replicas have the same normalisation state; so have those of a network that has none."""
        return self.recipe.batch_statistics == "global" or not has_batch_norm(self.spec)

    @abstractmethod
    def statistics(self) -> list[dict[str, np.ndarray]]:
        """The normalisation state of each rank."""

    @abstractmethod
    def disagreements(self) -> dict[str, np.ndarray]:
        """How many tensors of each rank (k,) are not bit for bit those of rank 0, after the last step.

        By what has to be the same: "gradients", "weights", "optimizer state" and, where they are global, "statistics".
        """

    def check_step(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """As of any model, and the batch has to divide.

        Raises:
            ShapeError: also where batch norm would see one value a channel in a replica that has its own statistics.
        """
        super().check_step(images, labels)
        if len(images) % self.replicas:
            raise ShapeError(
                f"{self.spec.name}: a batch of {len(images)} images does not divide among {self.replicas} replicas; "
                f"take a multiple of {self.replicas}"
            )
        if not self.statistics_are_global:
            assert labels is not None
            super().check_step(*parts(images, labels, self.replicas)[0])


class GroupModel(ReplicatedModel):
    """The replicas of a group of processes.

    Raises:
        ReplicaFailure: from every method, where a rank fails.
    """

    def __init__(self, group: ReplicaGroup, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.group, self.replicas = group, group.replicas
        self.spec, self.execution, self.recipe = spec, execution, recipe
        group.ask("build", spec=spec, execution=execution, recipe=recipe)

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        self._first("load_weights", {name: np.asarray(values) for name, values in weights.items()})

    def read_tensor(self, name: str) -> np.ndarray:
        return self._first("read_tensor", name)

    def weights(self) -> dict[str, np.ndarray]:
        return self._first("weights")

    def parameter_count(self) -> int:
        return self._first("parameter_count")

    def optimizer_state(self) -> dict[str, np.ndarray]:
        return self._first("optimizer_state")

    def forward(self, images: np.ndarray) -> np.ndarray:
        return self._first("forward", images)

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return self._first("activations", images)

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        return self._step("loss_and_gradients", images, labels)

    def train_step(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        return self._step("train_step", images, labels)

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        self.check_step(images, labels)
        assert labels is not None
        self.group.ask("program", self._parts(images, labels), phase=phase)
        return lambda: self.group.ask("outputs")[0]

    def fetch(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return outputs

    def synchronize(self) -> None:
        """An answer is there when all is done."""

    def effective_precision(self) -> str:
        return self._first("effective_precision")

    def flags(self) -> dict[str, str]:
        return self._first("flags")

    def statistics(self) -> list[dict[str, np.ndarray]]:
        return self.group.ask("statistics")

    def disagreements(self) -> dict[str, np.ndarray]:
        found = self.group.ask("digests")
        first = found[0]
        return {
            what: np.array([sum(own[what][name] != held for name, held in first[what].items()) for own in found])
            for what in first
            if what != "statistics" or self.statistics_are_global
        }

    def _first(self, method: str, *arguments: Any) -> Any:
        """What a method of the model returns on rank 0; all ranks run it."""
        return self.group.ask("call", method=method, arguments=arguments)[0]

    def _step(self, question: str, images: np.ndarray, labels: np.ndarray) -> StepResult:
        self.check_step(images, labels)
        found: list[StepResult] = self.group.ask(question, self._parts(images, labels))
        return StepResult(
            found[0].loss,
            np.concatenate([own.logits for own in found]),
            found[0].gradients,
            np.concatenate([own.image_gradient for own in found]),
        )

    def _parts(self, images: np.ndarray, labels: np.ndarray) -> list[dict[str, np.ndarray]]:
        split = parts(images, labels, self.replicas)
        return [{"images": own_images, "labels": own_labels} for own_images, own_labels in split]


def parts(images: np.ndarray, labels: np.ndarray, replicas: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batch of each replica, in order."""
    return list(zip(np.split(images, replicas), np.split(labels, replicas), strict=True))


def has_batch_norm(spec: UNetSpec) -> bool:
    """Whether it matters to the network what a batch is."""
    return any(layer.kind == "batch_norm" for layer in spec.layers)
