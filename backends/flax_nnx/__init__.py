"""Flax NNX: `UNet(spec, rngs=...)` is an ordinary flax.nnx.Module, and canonical weights go in and out of it."""

from .unet import UNet
from .weights import load_weights, read_weights

__all__ = ["UNet", "load_weights", "read_weights"]
