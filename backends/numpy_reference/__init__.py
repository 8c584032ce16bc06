"""NumPy in float64: `UNet(spec)` is the definition, forward and backward, in plain array code."""

from .unet import UNet

__all__ = ["UNet"]
