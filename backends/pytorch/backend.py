"""The PyTorch backend: what it can build and run here. What few runs need is loaded by those."""

from __future__ import annotations

from dataclasses import asdict

import torch

from shared_specs import Recipe, UNetSpec

from ..contract import BackendError, Execution, Load, LoadSizes, ReferenceBackend, RoundingNoise
from .capabilities import CAPABILITIES
from .loads import loads
from .model import PyTorchModel
from .tunings import tuning_of


class PyTorch(ReferenceBackend):
    name = "pytorch"
    capabilities = CAPABILITIES

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> PyTorchModel:
        self.check_execution(execution)
        return PyTorchModel(spec, execution, recipe)

    def build_noisy(
        self, spec: UNetSpec, noise: RoundingNoise, recipe: Recipe = Recipe(), device: str = "cpu"
    ) -> PyTorchModel:
        from .noisy import NoisyModel

        self.check_execution(Execution(device, "float64"))
        return NoisyModel(spec, noise, recipe, device)

    def lacks_replicas(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> str | None:
        from . import data_parallel

        return super().lacks_replicas(spec, execution, recipe) or data_parallel.lacks(spec, execution, recipe)

    def join_replicas(self, rank: int, replicas: int, execution: Execution) -> Execution:
        from . import data_parallel

        return data_parallel.join(rank, execution)

    def build_replica(self, spec: UNetSpec, execution: Execution, recipe: Recipe) -> PyTorchModel:
        from . import data_parallel

        self.check_execution(execution)
        if lacking := self.lacks_replicas(spec, execution, recipe):
            raise BackendError(f"{self.name} {lacking}")
        return data_parallel.Replica(spec, execution, recipe)

    def leave_replicas(self) -> None:
        from . import data_parallel

        data_parallel.leave()

    def knobs(self, execution: Execution) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(tuning_of(execution)).items()}

    def loads(self, execution: Execution, sizes: LoadSizes) -> list[Load]:
        return loads(execution, sizes)

    def devices(self) -> list[str]:
        return ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def versions(self) -> dict[str, str]:
        versions = {"torch": str(torch.__version__)}
        if torch.cuda.is_available():
            versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        return versions
