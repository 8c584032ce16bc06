"""Which images a user's own module takes."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn

from ...trace import NoImagesError
from .tracing import check_module, copy_of, dtype_of


def first_convolution(module: Any) -> tuple[int, int]:
    """Input channels and spatial dimensions of a module, after the convolution that runs first. Raises TraceError.

    It need not be the one that was made first, as a block may make the layers of a branch before those that feed it.
    """
    check_module(module)
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    if not convolutions:
        raise NoImagesError(
            f"{type(module).__name__} has no nn.Conv2d and no nn.Conv3d; expected images that it takes, or their shape"
        )
    made = convolutions[0]
    ran, given = _first_to_run(module, made)
    added = given - made.in_channels  # by the module itself, before its first convolution
    return max(ran.in_channels - added, 1), 2 if isinstance(ran, nn.Conv2d) else 3


class _Ran(Exception):
    """Ends a pass at its first convolution."""


def _first_to_run(module: nn.Module, made: nn.Conv2d | nn.Conv3d) -> tuple[nn.Conv2d | nn.Conv3d, int]:
    """Which convolution gets images first, and how many channels; `made` where the pass fails before, for its size."""
    copied, found = copy_of(module).eval(), [(made, made.in_channels)]

    def end(convolution: Any, inputs: Any) -> None:
        found[0] = convolution, inputs[0].shape[1]
        raise _Ran

    for submodule in copied.modules():
        if isinstance(submodule, nn.Conv2d | nn.Conv3d):
            submodule.register_forward_pre_hook(end, prepend=True)
    axes = len(made.kernel_size)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), contextlib.suppress(Exception):
        copied(torch.zeros(1, made.in_channels, *(64,) * axes, dtype=dtype_of(copied)))
    return found[0]
