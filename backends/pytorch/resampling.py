"""Between the levels of a U-Net in PyTorch: down, up and merge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_specs import UNetSpec
from shared_specs.schema import Merge as MergeSpec


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
            # Padding by less than nothing: the gradient of a slice would lose the layout (N, H, W, C) in memory.
            skip = F.pad(skip, (-left, left - columns, -top, top - rows))
        elif self.spec.size_mismatch == "pad_upsampled":
            top, left = self.spec.margin(rows), self.spec.margin(columns)
            upsampled = F.pad(upsampled, (left, columns - left, top, rows - top))
        maps = {"skip": skip, "upsampled": upsampled}
        return torch.cat([maps[name] for name in self.spec.order], dim=1)
