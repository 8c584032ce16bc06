"""The probe `data_parallel`: replicas that train together, and what one device would have computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import backends as registry
from backends.contract import BackendError, Execution, Model, ReferenceBackend
from backends.replicas import TIME_LIMIT_S, ReplicaGroup
from shared_specs import Recipe, UNetSpec
from shared_specs.weights import Weights

from .batches import Batch
from .compare import REFERENCE, compare_all
from .probes import DATA_PARALLEL
from .verdict import Verdict

SPARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Else a process of JAX takes most of a GPU's memory when it starts. Here the ranks of all backends and this process
share the GPUs. https://docs.jax.dev/en/latest/gpu_memory_allocation.html"""


def environment() -> dict[str, str]:
    """What ranks have beside the environment of this process; a setting that the user has made stays."""
    return {name: value for name, value in SPARING.items() if name not in os.environ}


class Replicas:
    """Replicas of a network in several backends, found to be possible before any process is started.

    Args:
        spec, execution, recipe, batch: as of `check`.
        names: the backends, but for the reference.
        replicas: of each.
        unable: by name, what other backends lack.
        time_limit_s: for each answer of a group of processes.

    Raises:
        BackendError: where there are fewer devices than replicas.
        ShapeError: where the batch does not divide.
    """

    def __init__(
        self,
        spec: UNetSpec,
        names: Sequence[str],
        execution: Execution,
        recipe: Recipe,
        replicas: int,
        batch: Batch,
        unable: Mapping[str, str],
        time_limit_s: float = TIME_LIMIT_S,
    ):
        self.spec, self.execution, self.recipe, self.replicas = spec, execution, recipe, replicas
        self.batch, self.time_limit_s = batch, time_limit_s
        lacking = {name: registry.get(name).lacks_replicas(spec, execution, recipe) for name in names}
        self.names = [name for name, lacks in lacking.items() if lacks is None]
        self.unable = dict(unable) | {name: lacks for name, lacks in lacking.items() if lacks is not None}
        for name in self.names:
            registry.get(name).check_replicas(execution, replicas)
        reference = registry.get(REFERENCE)
        assert isinstance(reference, ReferenceBackend)
        self.reference = reference.build_replicas(spec, recipe, replicas)
        self.reference.check_step(batch.images, batch.labels)

    def check_not_empty(self) -> None:
        """Raises BackendError where no backend trains replicas so."""
        if not self.names:
            raise BackendError("; ".join(f"{name} {lacks}" for name, lacks in self.unable.items()))

    def compare(
        self,
        weights: Weights,
        *,
        execution: Execution,
        seed: int,
        steps: int,
        on_progress: Callable[[str], None] | None,
    ) -> Verdict:
        """Train the replicas of every backend for some steps, and compare each with the reference and each other."""
        models: dict[str, Model] = {REFERENCE: self.reference}
        with ExitStack() as running:
            for name in self.names:
                if on_progress:
                    on_progress(f"{DATA_PARALLEL}: starting {self.replicas} replicas of {name}")
                kind, limit_s = execution.device_kind, self.time_limit_s
                group = ReplicaGroup(name, self.replicas, kind, limit_s, environment=environment())
                models[name] = running.enter_context(group).build(self.spec, execution, self.recipe)
            return compare_all(
                models,
                dict.fromkeys(models, weights),
                self.batch,
                execution=execution,
                probes=[DATA_PARALLEL],
                seed=seed,
                steps=steps,
                on_progress=on_progress,
                unable=self.unable,
            )
