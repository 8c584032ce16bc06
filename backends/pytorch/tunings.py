"""How PyTorch runs a step: every tuning is one object that lists its knobs."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Execution


@dataclass(frozen=True)
class Tuning:
    """The knobs that are turned. With none of them it is what a newcomer writes: eager, in PyTorch's own layout.

    Attributes:
        channels_last: maps and kernels lie in memory as (N, H, W, C).
        compile: where torch.compile is used: nowhere, for inference alone, or for the training step as well. A step
            is then two graphs: forward and loss with their backward (`fullgraph`), and the optimizer; PyTorch 2.13
            refuses `fullgraph` over `zero_grad` and `step` together.
        mode: of torch.compile. "max-autotune" searches kernels, and on a GPU replays the step as CUDA graphs.
        fold_norm: inference has batch norm folded into the convolution before it (Jacob et al. 2018,
            arXiv 1712.05877, section 3.2).
        freeze: inference has the weights as constants, which are packed once for the CPU's convolutions.
        fused_optimizer: one kernel updates all parameters, and is not compiled.
        autotune_convolutions: cuDNN times its algorithms at the first call (`torch.backends.cudnn.benchmark`).
    """

    channels_last: bool = False
    compile: str = ""
    mode: str = "default"
    fold_norm: bool = False
    freeze: bool = False
    fused_optimizer: bool = False
    autotune_convolutions: bool = False


INFERENCE, TRAINING = "inference", "training"

TUNINGS = {
    "default": Tuning(),
    "channels_last": Tuning(channels_last=True),
    "compile": Tuning(compile=TRAINING),
    "compile_max_autotune": Tuning(compile=TRAINING, mode="max-autotune"),
}
"""Those that are the same on every device."""

# docs/benchmarks.md has the measurement behind each choice for a CPU; those for a GPU follow the frameworks' guides.
TUNED = {
    "cpu": Tuning(channels_last=True, compile=INFERENCE, fold_norm=True, freeze=True),
    "cuda": Tuning(
        channels_last=True,
        compile=TRAINING,
        mode="max-autotune",
        fold_norm=True,
        fused_optimizer=True,
        autotune_convolutions=True,
    ),
}
"""The best allowed, by kind of device."""

NAMES = (*TUNINGS, "tuned")


def tuning_of(execution: Execution) -> Tuning:
    """The knobs of an execution's tuning on its device."""
    if execution.tuning == "tuned":
        return TUNED[execution.device_kind]
    return TUNINGS[execution.tuning]
