"""PyTorch: `UNet(spec)` is an ordinary torch.nn.Module, and canonical weights go in and out of it."""

from .unet import UNet
from .weights import load_weights, read_weights

__all__ = ["UNet", "load_weights", "read_weights"]
