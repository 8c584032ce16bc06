"""Between the levels of a U-Net in PyTorch: down, up and merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from shared_specs.layout import Layer
from shared_specs.layout import Resize as ResizeSettings
from shared_specs.tables import Merge as MergeSpec


def max_pool(layer: Layer) -> nn.Module:
    s = layer.settings
    return (nn.MaxPool2d if len(s.kernel) == 2 else nn.MaxPool3d)(s.kernel, s.stride, s.padding)


def average_pool(layer: Layer) -> nn.Module:
    s = layer.settings
    return (nn.AvgPool2d if len(s.kernel) == 2 else nn.AvgPool3d)(s.kernel, s.stride)


def transposed_conv(layer: Layer) -> nn.Module:
    s = layer.settings
    kind = nn.ConvTranspose2d if len(s.kernel) == 2 else nn.ConvTranspose3d
    return kind(layer.in_channels, layer.out_channels, s.kernel, s.stride, s.padding, s.output_padding, bias=s.bias)


class Resize(nn.Module):
    """Nearest or linear interpolation by a factor, or to the size of a second map."""

    def __init__(self, kind: str, settings: ResizeSettings):
        super().__init__()
        self.kind, self.settings = kind, settings

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        size = like.shape[2:] if like is not None else self._scaled(x.shape[2:])
        return nearest(x, size) if self.kind == "nearest" else linear(x, size, self.settings.align_corners)

    def _scaled(self, size: Sequence[int]) -> list[int]:
        assert self.settings.scale is not None
        return [side * factor for side, factor in zip(size, self.settings.scale, strict=True)]


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """Output i takes input floor(i in / out), which `mode="nearest"` computes in float32 and may round down."""
    if all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True)):
        return F.interpolate(x, list(size), mode="nearest-exact")  # the same for whole factors, and far from a tie
    for axis, new in enumerate(size, start=2):
        x = x.index_select(axis, torch.arange(new, device=x.device) * x.shape[axis] // new)
    return x


def linear(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, list(size), mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=align_corners)


class PixelShuffle(nn.Module):
    """nn.PixelShuffle for any number of dimensions: channel (c, i, j) becomes pixel (i, j) of a block of channel c."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(x, SHUFFLES[x.ndim], **dict.fromkeys("ijk"[: x.ndim - 2], self.scale))


SHUFFLES = {4: "n (c i j) h w -> n c (h i) (w j)", 5: "n (c i j k) d h w -> n c (d i) (h j) (w k)"}


class Merge(nn.Module):
    """Join skips with the upsampled map: make their sizes equal as the spec says, then concatenate or add."""

    def __init__(self, spec: MergeSpec):
        super().__init__()
        self.spec = spec

    def forward(self, *maps: Tensor) -> Tensor:
        *skips, upsampled = maps
        match self.spec.size_mismatch:
            case "crop_skip":
                skips = [self._moved(skip, skip, upsampled, -1, "constant") for skip in skips]
            case "pad_upsampled":
                mode = {"zeros": "constant"}.get(str(self.spec.padding_mode), str(self.spec.padding_mode))
                upsampled = self._moved(upsampled, skips[0], upsampled, 1, mode)
            case "resize_upsampled":
                size = skips[0].shape[2:]
                if self.spec.resize == "nearest":
                    upsampled = nearest(upsampled, size)
                else:
                    upsampled = linear(upsampled, size, self.spec.resize == "linear_align_corners")
        if self.spec.kind == "sum":
            return sum(skips, upsampled)
        return torch.cat([*skips, upsampled] if self.spec.order == ("skip", "upsampled") else [upsampled, *skips], 1)

    def _moved(self, x: Tensor, larger: Tensor, smaller: Tensor, sign: int, mode: str) -> Tensor:
        """Crop or pad. To crop is to pad by less than nothing: the gradient of a slice would lose the channels-last
        layout in memory."""
        margins: list[int] = []
        for axis in reversed(range(2, x.ndim)):
            difference = larger.shape[axis] - smaller.shape[axis]
            before = self.spec.margin(difference)
            margins += [sign * before, sign * (difference - before)]
        return F.pad(x, margins, mode)


KINDS: dict[str, Callable[[Layer], nn.Module]] = {
    "max_pool": max_pool,
    "average_pool": average_pool,
    "transposed_conv": transposed_conv,
    "nearest": lambda layer: Resize("nearest", layer.settings),
    "linear": lambda layer: Resize("linear", layer.settings),
    "pixel_shuffle": lambda layer: PixelShuffle(layer.settings.scale),
    "merge": lambda layer: Merge(layer.settings),
}
