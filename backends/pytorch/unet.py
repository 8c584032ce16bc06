"""The U-Net as an ordinary torch.nn.Module."""

from __future__ import annotations

from torch import Tensor, nn

from shared_specs import UNetSpec

from . import layers, resampling


class Unit(nn.Module):
    """One convolution with its norm and activation, in the order of the spec."""

    def __init__(self, spec: UNetSpec, in_channels: int, out_channels: int):
        super().__init__()
        self.order = spec.block.order
        for step in self.order:
            if step == "conv":
                self.conv = layers.conv(spec, in_channels, out_channels)
                in_channels = out_channels
            elif step == "norm":
                self.norm = layers.norm(spec, in_channels)
            else:
                self.activation = layers.activation(spec)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.order:
            x = getattr(self, step)(x)
        return x


def block(spec: UNetSpec, in_channels: int, out_channels: int) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * spec.block.convolutions
    return nn.Sequential(*(Unit(spec, before, after) for before, after in zip(widths, widths[1:], strict=False)))


class Encoder(nn.Module):
    """One level on the way down; level 0 does not down-sample."""

    def __init__(self, spec: UNetSpec, level: int):
        super().__init__()
        self.down = resampling.down(spec) if level else None
        in_channels = spec.widths[level - 1] if level else spec.in_channels
        self.block = block(spec, in_channels, spec.widths[level])

    def forward(self, x: Tensor) -> Tensor:
        if self.down is not None:
            x = self.down(x)
        return self.block(x)


class Decoder(nn.Module):
    """One level on the way up; merges with the encoder of the same level."""

    def __init__(self, spec: UNetSpec, level: int):
        super().__init__()
        below, width = spec.widths[level + 1], spec.widths[level]
        upsampled = below // 2 if spec.up.kind == "transposed_conv" else below
        self.up = resampling.up(spec, below)
        self.merge = resampling.Merge(spec.merge)
        self.block = block(spec, width + upsampled, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.block(self.merge(skip, self.up(x)))


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, C, H, W) to logits (N, classes, H', W'). Parameters have the canonical names of the spec, so
    `state_dict()` is the canonical weights plus batch norm's `num_batches_tracked`.
    """

    def __init__(self, spec: UNetSpec):
        super().__init__()
        self.encoder = nn.ModuleList(Encoder(spec, level) for level in range(spec.levels))
        self.decoder = nn.ModuleList(Decoder(spec, level) for level in range(spec.levels - 1))
        self.head = layers.head(spec, spec.widths[0])

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for encoder in self.encoder:
            x = encoder(x)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x, skips[level])
        return self.head(x)
