"""How JAX runs a step: every tuning is one object that lists its knobs."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Execution


@dataclass(frozen=True)
class Tuning:
    """The knobs that are turned. With none but `jit` it is what a newcomer writes.

    Attributes:
        jit: the whole step is one compiled program; without it every operation is one, which is a diagnostic.
        donate: the step may write its new state into the memory of the old one.
        fold_norm: inference has batch norm folded into the convolution before it (Jacob et al. 2018,
            arXiv 1712.05877, section 3.2).
        shard_batch: the batch is split over all CPU devices that the process has, as many as XLA is told by
            `--xla_force_host_platform_device_count`. XLA gives a convolution with few output channels to one thread.
    """

    jit: bool = True
    donate: bool = False
    fold_norm: bool = False
    shard_batch: bool = False


TUNINGS = {
    "op_by_op": Tuning(jit=False),
    "default": Tuning(),
    "donate": Tuning(donate=True),
}
"""Those that are the same on every device."""

# docs/benchmarks.md has the measurement behind each choice for a CPU; those for a GPU follow the frameworks' guides.
TUNED = {
    "cpu": Tuning(fold_norm=True, shard_batch=True),
    "cuda": Tuning(donate=True, fold_norm=True),
}
"""The best allowed, by kind of device."""

NAMES = (*TUNINGS, "tuned")


def tuning_of(execution: Execution) -> Tuning:
    """The knobs of an execution's tuning on its device."""
    if execution.tuning == "tuned":
        return TUNED[execution.device_kind]
    return TUNINGS[execution.tuning]
