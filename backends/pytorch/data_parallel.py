"""One of several replicas in PyTorch: DistributedDataParallel in processes that torchrun started."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shared_specs import Recipe, UNetSpec

from ..contract import BackendError, Execution, StepResult
from .layers import BiasedBatchNorm
from .model import PyTorchModel
from .tunings import TRAINING, tuning_of
from .unet import UNet

NO_GLOBAL_ON_A_CPU = "has no global batch statistics on a CPU: SyncBatchNorm refuses to run there"

NEVER = timedelta(days=1)
"""Whoever started the processes has a limit of its own, and can say who hangs."""


def lacks(spec: UNetSpec, execution: Execution, recipe: Recipe) -> str | None:
    """What keeps replicas of this network from being trained so, or None."""
    normed = any(layer.kind == "batch_norm" for layer in spec.layers)
    if execution.device_kind == "cpu" and normed and recipe.batch_statistics == "global":
        return NO_GLOBAL_ON_A_CPU
    if tuning_of(execution).compile == TRAINING:
        return f"compiles the step in tuning {execution.tuning!r}, and replicas are trained uncompiled"
    return None


def join(rank: int, execution: Execution) -> Execution:
    """Join the other ranks: with NCCL on GPUs, with Gloo on CPUs. torchrun says in the environment where they are."""
    if execution.device_kind == "cpu":
        dist.init_process_group("gloo", timeout=NEVER)
        return execution
    if rank >= torch.cuda.device_count():
        raise BackendError(f"pytorch finds {torch.cuda.device_count()} cuda devices, and rank {rank} needs its own")
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", timeout=NEVER)
    return replace(execution, device=f"cuda:{rank}")


def leave() -> None:
    dist.destroy_process_group()


class Heads(nn.Module):
    """The network as DistributedDataParallel takes it: what it calls is `forward`."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.unet.heads(images)


class Replica(PyTorchModel):
    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        super().__init__(spec, execution, recipe)
        # Every replica keeps its own statistics, where they are not global. By default rank 0's would overwrite the
        # others' before each step; rank 0's, which are the ones that are saved, are the same either way.
        self.parallel = DistributedDataParallel(Heads(self.module), broadcast_buffers=False)

    def _new_module(self, spec: UNetSpec) -> UNet:
        module = super()._new_module(spec)
        return synchronized(module) if self.recipe.batch_statistics == "global" else module

    def _heads(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return self.parallel(inputs)

    def check_step(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Whoever split the batch has checked all of it."""

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        own = super().loss_and_gradients(images, labels)
        return replace(own, loss=self.mean(own.loss), image_gradient=own.image_gradient / dist.get_world_size())

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = super().fetch(outputs)
        return fetched | {"loss": np.asarray(self.mean(float(fetched["loss"])))} if "loss" in fetched else fetched

    def mean(self, loss: float) -> float:
        """The mean over all ranks; each has the loss of its own images, and as many of them."""
        total = torch.tensor(loss, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)  # the sum: Gloo has no mean
        return total.item() / dist.get_world_size()


def synchronized(module: UNet) -> UNet:
    """The network with global batch statistics in place of each rank's own."""
    biased = [name for name, layer in module.named_modules() if isinstance(layer, BiasedBatchNorm)]
    nn.SyncBatchNorm.convert_sync_batchnorm(module)  # in place, as the network is no batch norm itself
    for name in biased:
        module.get_submodule(name).__class__ = BiasedSyncBatchNorm
    return module


class BiasedSyncBatchNorm(nn.SyncBatchNorm):
    """SyncBatchNorm that keeps the biased variance of the whole batch."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.running_var is None or self.momentum is None:
            return super().forward(input)
        kept = self.running_var * (1 - self.momentum)
        output = super().forward(input)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        with torch.no_grad():
            self.running_var.copy_(kept + (self.running_var - kept) * ((count - 1) / count))
        return output
