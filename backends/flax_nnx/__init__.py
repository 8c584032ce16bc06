"""Flax NNX: `UNet(spec, rngs=...)` is an ordinary flax.nnx.Module."""

from .unet import UNet

__all__ = ["UNet"]
