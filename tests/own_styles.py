"""U-Nets in the styles in which people write them: of Sequentials, of functions, of lists, and with strides in 3-D."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DoubleConv(nn.Module):
    def __init__(self, in_ch: int, out_ch: int, mid: int | None = None):
        super().__init__()
        mid = mid or out_ch
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_ch, mid, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, out_ch, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_ch),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Sequentials(nn.Module):
    """DoubleConv, Down and Up of nn.Sequential, padded where sizes do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.inc = DoubleConv(1, 4)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 8))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv1, self.conv2 = DoubleConv(16, 4, 8), DoubleConv(8, 4)
        self.outc = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.conv1(self.join(x2, self.up(x3)))
        return self.outc(self.conv2(self.join(x1, self.up(x))))

    @staticmethod
    def join(skip: Tensor, x: Tensor) -> Tensor:
        dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
        return torch.cat([skip, F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])], dim=1)


class Functional(nn.Module):
    """Activations, pools and crops are functions, the upsampled map comes first, and nothing is padded."""

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate(((1, 4), (4, 4), (4, 8), (8, 8), (8, 4), (4, 4)), start=1):
            setattr(self, f"conv_{number}", nn.Conv2d(before, after, 3))
        self.expand = nn.ConvTranspose2d(8, 4, 2, 2)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = torch.relu(self.conv_2(F.relu(self.conv_1(x))))
        x = self.conv_3(F.max_pool2d(skip, kernel_size=2)).relu()
        x = self.expand(F.relu_(self.conv_4(x)))
        top, left = (skip.shape[2] - x.shape[2]) // 2, (skip.shape[3] - x.shape[3]) // 2
        skip = skip[..., top : top + x.shape[2], left : left + x.shape[3]]
        return self.last(F.relu(self.conv_6(F.relu(self.conv_5(torch.cat((x, skip), dim=1))))))


class Lists(nn.Module):
    """Everything hangs in lists; group norm, SiLU, nearest neighbours to the skip's size, reflected borders."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 4, 8, 8)
        self.stages = nn.ModuleList(self.unit(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.heads = nn.ModuleList([self.unit(16, 8), self.unit(12, 4), nn.Conv2d(4, 5, 3, padding=1)])

    @staticmethod
    def unit(before: int, after: int) -> nn.Sequential:
        conv = nn.Conv2d(before, after, 5, padding="same", padding_mode="reflect")
        return nn.Sequential(conv, nn.GroupNorm(2, after, eps=1e-6), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            x = stage(F.avg_pool2d(x, 2) if number else x)
            skips.insert(0, x)
        for skip, head in zip(skips[1:], self.heads, strict=False):
            x = head(torch.cat([skip, F.interpolate(x, size=skip.shape[2:])], dim=1))
        return self.heads[-1](x)


class Strided(nn.Module):
    """In 3-D: strided convolutions are the first of their blocks, skips are added, and two levels have dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {"a": self.block(1, 4, 1), "b": self.block(4, 8, 2), "c": self.block(8, 8, (1, 2, 2))}
        )
        self.ups = nn.ModuleList([nn.ConvTranspose3d(8, 8, (1, 2, 2), (1, 2, 2)), nn.ConvTranspose3d(8, 4, 2, 2)])
        self.decoder = nn.ModuleList([self.block(8, 8, 1), self.block(4, 4, 1)])
        self.seg = nn.Conv3d(4, 3, 1)

    @staticmethod
    def block(before: int, after: int, stride: Any) -> nn.Sequential:
        drop = [nn.Dropout(0.25)] if before == after else []
        steps: list[nn.Module] = []
        for channels, step in ((before, stride), (after, 1)):
            norm = nn.InstanceNorm3d(after, affine=True)
            steps += [nn.Conv3d(channels, after, 3, step, 1), *drop, norm, nn.LeakyReLU(0.01)]
        return nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.encoder.values():
            x = stage(x)
            skips.append(x)
        for skip, up, block in zip((skips[1], skips[0]), self.ups, self.decoder, strict=True):
            x = block(skip + up(x))
        return self.seg(x)
