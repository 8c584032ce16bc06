"""The backend that libraries of modules on JAX share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from importlib.metadata import version

import jax

from shared_specs import Recipe, UNetSpec

from ..contract import Backend, Execution, Load, LoadSizes
from .capabilities import CAPABILITIES
from .loads import loads
from .model import JaxModel
from .network import Network
from .precision import Numerics
from .tunings import tuning_of


class JaxBackend(Backend):
    """A backend of a library of modules on JAX. What it adds is a name and a network.

    Attributes:
        packages: those whose versions belong into records.
    """

    capabilities = CAPABILITIES
    packages: tuple[str, ...] = ("jax", "jaxlib", "optax")

    @abstractmethod
    def network(self, spec: UNetSpec, numerics: Numerics) -> Network:
        """The library's module of a spec, as pure functions of its tensors."""

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> JaxModel:
        self.check_execution(execution)
        return JaxModel(spec, execution, recipe, self.network)

    def join_replicas(self, rank: int, replicas: int, execution: Execution) -> Execution:
        from . import data_parallel

        return data_parallel.join(rank, replicas, execution)

    def build_replica(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> JaxModel:
        from . import data_parallel

        self.check_execution(execution)
        return data_parallel.Replica(spec, execution, recipe, self.network)

    def leave_replicas(self) -> None:
        from . import data_parallel

        data_parallel.leave()

    def knobs(self, execution: Execution) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(tuning_of(execution)).items()}

    def loads(self, execution: Execution, sizes: LoadSizes) -> list[Load]:
        return loads(execution, sizes)

    def devices(self) -> list[str]:
        platforms = {device.platform for device in jax.devices()}
        gpus = [f"cuda:{index}" for index in range(len(jax.devices()))] if "gpu" in platforms else []
        return ["cpu", *gpus]

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in self.packages}
