"""The layers of a U-Net in PyTorch, one function or class per choice in the spec."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_specs import UNetSpec
from shared_specs.schema import Merge as MergeSpec


def conv(spec: UNetSpec, in_channels: int, out_channels: int) -> nn.Module:
    return nn.Conv2d(
        in_channels, out_channels, spec.conv.kernel, padding=spec.conv.padding, bias=spec.conv.bias
    )


def head(spec: UNetSpec, in_channels: int) -> nn.Module:
    return nn.Conv2d(
        in_channels, spec.out_channels, spec.head.kernel, padding=spec.head.padding, bias=spec.head.bias
    )


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
        output = F.batch_norm(
            input, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps
        )
        kept = self.running_var * (1 - self.momentum)
        count = input.numel() // input.shape[1]
        self.running_var.copy_(kept + (moved - kept) * ((count - 1) / count))
        return output


def activation(spec: UNetSpec) -> nn.Module:
    # In place saves a copy of the map, but must not overwrite the input of the unit, which may be a skip.
    inplace = spec.block.order[0] != "activation"
    match spec.activation.kind:
        case "relu":
            return nn.ReLU(inplace)
        case "leaky_relu":
            return nn.LeakyReLU(spec.activation.slope, inplace)
        case "identity":
            return nn.Identity()


def down(spec: UNetSpec) -> nn.Module:
    return nn.MaxPool2d(spec.down.kernel, spec.down.stride)


def up(spec: UNetSpec, in_channels: int) -> nn.Module:
    if spec.up.kind == "bilinear":
        return nn.Upsample(scale_factor=spec.up.scale, mode="bilinear", align_corners=spec.up.align_corners)
    return nn.ConvTranspose2d(
        in_channels, in_channels // 2, spec.up.kernel, spec.up.stride, spec.up.padding, bias=spec.up.bias
    )


class Merge(nn.Module):
    """Join the skip with the upsampled map: make their sizes equal as the spec says, then concatenate."""

    def __init__(self, spec: MergeSpec):
        super().__init__()
        self.spec = spec

    def forward(self, skip: Tensor, upsampled: Tensor) -> Tensor:
        rows, columns = skip.shape[2] - upsampled.shape[2], skip.shape[3] - upsampled.shape[3]
        if self.spec.size_mismatch == "crop_skip":
            top, left = self.spec.margin(rows), self.spec.margin(columns)
            skip = skip[:, :, top : top + upsampled.shape[2], left : left + upsampled.shape[3]]
        elif self.spec.size_mismatch == "pad_upsampled":
            top, left = self.spec.margin(rows), self.spec.margin(columns)
            upsampled = F.pad(upsampled, (left, columns - left, top, rows - top))
        maps = {"skip": skip, "upsampled": upsampled}
        return torch.cat([maps[name] for name in self.spec.order], dim=1)
