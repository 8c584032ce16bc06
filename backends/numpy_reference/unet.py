"""The U-Net in plain NumPy, forward and backward, to be read as the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared_specs import UNetSpec

from . import layers, resampling
from .rounding import Rounding


class Unit:
    """One convolution with its norm and activation, in the order of the spec."""

    def __init__(self, spec: UNetSpec, rounding: Rounding):
        self.order = spec.block.order
        for step in self.order:
            setattr(self, step, getattr(layers, step)(spec, rounding))

    def __call__(self, x: np.ndarray, training: bool) -> np.ndarray:
        for step in self.order:
            x = getattr(self, step)(x, training=training)
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        for step in reversed(self.order):
            dy = getattr(self, step).backward(dy)
        return dy


class Block(list[Unit]):
    """The units of one level, one after the other."""

    def __init__(self, spec: UNetSpec, rounding: Rounding):
        super().__init__(Unit(spec, rounding) for _ in range(spec.block.convolutions))

    def __call__(self, x: np.ndarray, training: bool) -> np.ndarray:
        for unit in self:
            x = unit(x, training)
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        for unit in reversed(self):
            dy = unit.backward(dy)
        return dy


class Encoder:
    """One level on the way down; level 0 does not down-sample."""

    def __init__(self, spec: UNetSpec, level: int, rounding: Rounding):
        self.down = resampling.down(spec, rounding) if level else None
        self.block = Block(spec, rounding)

    def __call__(self, x: np.ndarray, training: bool) -> np.ndarray:
        if self.down is not None:
            x = self.down(x, training=training)
        return self.block(x, training)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = self.block.backward(dy)
        return dx if self.down is None else self.down.backward(dx)


class Decoder:
    """One level on the way up; merges with the encoder of the same level."""

    def __init__(self, spec: UNetSpec, rounding: Rounding):
        self.up = resampling.up(spec, rounding)
        self.merge = resampling.Merge(spec.merge, rounding)
        self.block = Block(spec, rounding)

    def __call__(self, x: np.ndarray, skip: np.ndarray, training: bool) -> np.ndarray:
        return self.block(self.merge(skip, self.up(x, training=training), training=training), training)

    def backward(self, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of the map from below and of the skip."""
        d_skip, d_upsampled = self.merge.backward(self.block.backward(dy))
        return self.up.backward(d_upsampled), d_skip


class UNet:
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, C, H, W) to logits (N, classes, H', W'). Its layers have no tensors until they are given some
    (`weights.native`).
    """

    def __init__(self, spec: UNetSpec, rounding: Rounding | None = None):
        self.rounding = rounding or Rounding()
        self.encoder = [Encoder(spec, level, self.rounding) for level in range(spec.levels)]
        self.decoder = [Decoder(spec, self.rounding) for _ in range(spec.levels - 1)]
        self.head = layers.head(spec, self.rounding)

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        x, skips = self.rounding(images), []
        for encoder in self.encoder:
            x = encoder(x, training)
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](x, skips[level], training)
        return self.head(x, training=training)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient of the images, given that of the logits of the last call, which was in training mode."""
        dx = self.head.backward(dy)
        d_skips: list[np.ndarray] = []
        for decoder in self.decoder:
            dx, d_skip = decoder.backward(dx)
            d_skips.append(d_skip)
        dx = self.encoder[-1].backward(dx)
        for encoder, d_skip in zip(reversed(self.encoder[:-1]), reversed(d_skips), strict=True):
            dx = encoder.backward(self.rounding(dx + d_skip))
        return dx


def cross_entropy(logits: np.ndarray, labels: np.ndarray, rounding: Rounding) -> tuple[np.ndarray, np.ndarray]:
    """The mean over batch and pixels of -log softmax(logits)[label], and its gradient by the logits.

    Args:
        logits: (N, classes, H, W).
        labels: integers (N, H, W).
    """
    shifted = rounding(logits - np.real(logits).max(1, keepdims=True))
    exponentials = rounding(np.exp(shifted))
    total = rounding.sum(exponentials, 1, keepdims=True)
    chosen = np.take_along_axis(rounding(shifted - np.log(total)), labels[:, None], 1)
    loss = -rounding.mean(chosen, None)
    gradient = rounding(exponentials / total)
    np.put_along_axis(gradient, labels[:, None], np.take_along_axis(gradient, labels[:, None], 1) - 1, 1)
    return loss, rounding(gradient / labels.size)


def layer_at(unet: UNet, path: Sequence[str]) -> layers.Layer:
    """The layer at a canonical path, for instance ["encoder", "0", "block", "1", "conv"]."""
    node = unet
    for key in path:
        node = node[int(key)] if isinstance(node, list) else getattr(node, key)
    assert isinstance(node, layers.Layer)
    return node
