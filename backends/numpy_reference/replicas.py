"""Data parallel training written out: what k replicas of a network compute, one after the other.

The batch is split into k parts of the same size. With global batch statistics, k replicas are the network on the whole
batch. Else each part goes through a network with statistics of its own; loss and gradients are the means of theirs, and
one optimizer's step moves the weights, which all have in common.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_specs.weights import Weights

from ..contract import StepResult
from ..replicas.model import ReplicatedModel, parts
from .model import NoisyModel, NumPyModel
from .weights import native

Statistics = dict[str, np.ndarray]


class NumPyReplicas(NumPyModel, ReplicatedModel):
    """k replicas of the reference."""

    def __init__(self, *arguments: Any, replicas: int):
        self.replicas = replicas
        super().__init__(*arguments)

    def load_weights(self, weights: Weights) -> None:
        super().load_weights(weights)
        self._held = [self._read() for _ in range(self.replicas)]

    def _differentiate(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        if self.statistics_are_global:
            result = super()._differentiate(images, labels)
            self._held = [self._read() for _ in range(self.replicas)]
            return result
        results = []
        for rank, (own_images, own_labels) in enumerate(parts(images, labels, self.replicas)):
            self._write(self._held[rank])
            results.append(super()._differentiate(own_images, own_labels))
            self._held[rank] = self._read()
        self._write(self._held[0])  # what is kept in the end is rank 0's
        for tensor in self.spec.tensors:
            if tensor.trainable:
                layer, leaf = native(self.module, tensor)
                layer.gradients[leaf] = self._mean([result.gradients[tensor.name] for result in results])
        return StepResult(
            float(self._mean([np.asarray(result.loss) for result in results])),
            np.concatenate([result.logits for result in results]),
            self._gradients(),
            np.concatenate([result.image_gradient for result in results]) / self.replicas,
        )

    def statistics(self) -> list[Statistics]:
        return [dict(held) for held in self._held]

    def disagreements(self) -> dict[str, np.ndarray]:
        """None: there is one network."""
        held = ["gradients", "weights", "optimizer state", *(["statistics"] if self.statistics_are_global else [])]
        return {what: np.zeros(self.replicas, int) for what in held}

    def _mean(self, values: list[np.ndarray]) -> np.ndarray:
        return self.rounding(np.sum(values, axis=0) / self.replicas)

    def _read(self) -> Statistics:
        return {tensor.name: self.read_tensor(tensor.name) for tensor in self.spec.tensors if not tensor.trainable}

    def _write(self, statistics: Statistics) -> None:
        for name, values in statistics.items():
            layer, leaf = native(self.module, self.spec.tensor(name))
            layer.tensors[leaf] = values.copy()


class NoisyReplicas(NoisyModel, NumPyReplicas):
    """The same under rounding noise."""

    exact = NumPyReplicas
