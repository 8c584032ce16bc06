"""Flax Linen: `UNet(spec)` is an ordinary flax.linen.Module, and canonical weights go in and out of its variables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .unet import UNet
    from .weights import load_weights, read_weights

__all__ = ["UNet", "load_weights", "read_weights"]


def __getattr__(name: str) -> Any:
    """The framework is imported by what needs it: `capabilities.py` does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import unet, weights

    return unet.UNet if name == "UNet" else getattr(weights, name)
