"""PyTorch: `UNet(spec)` is an ordinary torch.nn.Module."""

from .unet import UNet

__all__ = ["UNet"]
