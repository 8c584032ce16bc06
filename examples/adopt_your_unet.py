"""Adopt a U-Net of your own: find out which spec it is, prove it, and go on in Flax with the same weights.

python examples/adopt_your_unet.py
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import Tensor, nn

import parity
from backends import flax_nnx


class YourUNet(nn.Module):
    """In its own words: no class and no key is named as Tandem would name it."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.first = self.twice(1, width)
        self.second = self.twice(width, 2 * width)
        self.back = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.third = self.twice(2 * width, width)
        self.classes = nn.Conv2d(width, 2, 1)

    @staticmethod
    def twice(before: int, after: int) -> nn.Sequential:
        steps: list[nn.Module] = []
        for channels in (before, after):
            steps += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(True)]
        return nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        x = self.back(self.second(nn.functional.max_pool2d(skip, 2)))
        return self.classes(self.third(torch.cat([skip, x], dim=1)))


def main() -> None:
    torch.manual_seed(0)
    yours = YourUNet().eval()

    # Traced, matched, and proven in float64 against PyTorch's and Flax's build of the spec that was inferred.
    adoption = parity.adopt(yours)
    print(adoption)
    if not adoption.equal or adoption.spec is None:
        raise SystemExit(1)

    # An ordinary Flax module with these weights, for a training loop of your own.
    ported = flax_nnx.UNet(adoption.spec, rngs=nnx.Rngs(0))
    flax_nnx.load_weights(ported, adoption.spec, adoption.weights)
    ported.eval()

    images = np.random.default_rng(0).normal(size=(1, 1, 32, 48)).astype(np.float32)
    with torch.no_grad():
        logits = yours(torch.from_numpy(images)).numpy()
    ported_logits = np.asarray(ported(jnp.asarray(images.transpose(0, 2, 3, 1)))).transpose(0, 3, 1, 2)
    print(f"in float32, the logits of the two modules differ by at most {np.abs(logits - ported_logits).max():.1e}")


if __name__ == "__main__":
    main()
