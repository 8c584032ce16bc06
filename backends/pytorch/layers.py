"""The layers of a block in PyTorch, one function or class per choice in the spec."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from shared_specs import UNetSpec
from shared_specs.schema import Identity, LeakyReLU, ReLU


def conv(spec: UNetSpec, in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, out_channels, spec.conv.kernel, padding=spec.conv.padding, bias=spec.conv.bias)


def head(spec: UNetSpec, in_channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, spec.out_channels, spec.head.kernel, padding=spec.head.padding, bias=spec.head.bias)


def norm(spec: UNetSpec, channels: int) -> nn.Module:
    if spec.norm.kind == "group":
        return nn.GroupNorm(spec.norm.groups, channels, eps=spec.norm.epsilon)
    assert spec.norm.kind == "batch"
    kind = nn.BatchNorm2d if spec.norm.running_variance == "unbiased" else BiasedBatchNorm
    return kind(channels, eps=spec.norm.epsilon, momentum=spec.norm.momentum)


class BiasedBatchNorm(nn.BatchNorm2d):
    """Batch norm that keeps the biased variance of the batch, as Flax does; PyTorch has only the unbiased one."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_var is not None and self.momentum is not None
        # On a copy, since autograd keeps what batch_norm is given.
        moved = self.running_var.clone()
        output = F.batch_norm(input, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps)
        kept = self.running_var * (1 - self.momentum)
        count = input.numel() // input.shape[1]
        self.running_var.copy_(kept + (moved - kept) * ((count - 1) / count))
        return output


def activation(spec: UNetSpec) -> nn.Module:
    # In place saves a copy of the map, but must not overwrite the input of the unit, which may be a skip.
    inplace = spec.block.order[0] != "activation"
    match spec.activation:
        case LeakyReLU(slope=slope):
            return nn.LeakyReLU(slope, inplace)
        case ReLU():
            return nn.ReLU(inplace)
        case Identity():
            return nn.Identity()
