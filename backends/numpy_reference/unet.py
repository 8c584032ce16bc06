"""The U-Net in plain NumPy, forward and backward, to be read as the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from shared_specs import UNetSpec, layout

from . import activations, layers, merge, norms, resampling
from .rounding import Rounding

KINDS: dict[str, Callable[[layout.Layer, Rounding], layers.Layer]] = {
    **layers.KINDS,
    **norms.KINDS,
    **activations.KINDS,
    **resampling.KINDS,
    **merge.KINDS,
}
"""What builds each kind of layer."""


class UNet:
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec: its layers, one after the other.

    Maps images (N, C, H, W) to logits (N, classes, H', W') and, in training, to those of the heads of deep
    supervision. Its layers have no tensors until they are given some (`weights.native`).

    Attributes:
        layers: by canonical name, in the order of execution.
    """

    def __init__(self, spec: UNetSpec, rounding: Rounding | None = None):
        self.spec, self.rounding = spec, rounding or Rounding()
        self.layers = {layer.name: KINDS[layer.kind](layer, self.rounding) for layer in spec.layers}

    def __call__(self, images: np.ndarray, training: bool = False) -> tuple[np.ndarray, ...]:
        """The logits of each head, the final one's first; those of deep supervision in training alone."""
        heads = (self.spec.logits, *self.spec.deep_logits) if training else (self.spec.logits,)
        maps = self.maps(images, heads, training)
        return tuple(maps[name] for name in heads)

    def maps(self, images: np.ndarray, wanted: Sequence[str], training: bool = False) -> dict[str, np.ndarray]:
        """The outputs of the layers of these names. Every other map is dropped as soon as nothing needs it."""
        maps = {layout.IMAGES: self.rounding(images)}
        run = [layer for layer in self.spec.layers if not layer.is_deep or layer.name in wanted]
        for layer, unneeded in layout.schedule(run, wanted):
            inputs = [maps[name] for name in layer.inputs]
            maps[layer.name] = self.layers[layer.name](*inputs, training=training)
            if not training:
                self.layers[layer.name].forget()
            for name in unneeded:
                del maps[name]
        return maps

    def backward(self, gradients: Sequence[np.ndarray]) -> np.ndarray:
        """The gradient of the images, given those of all heads of the last call, which was in training mode."""
        heads = (self.spec.logits, *self.spec.deep_logits)
        totals = dict(zip(heads, gradients, strict=True))
        for layer in reversed(self.spec.layers):
            found = self.layers[layer.name].backward(totals.pop(layer.name))
            self.layers[layer.name].forget()
            for name, gradient in zip(layer.inputs, found if isinstance(found, tuple) else (found,), strict=True):
                if gradient is not None:
                    totals[name] = self.rounding(totals[name] + gradient) if name in totals else gradient
        return totals[layout.IMAGES]


def weighted_loss(
    heads: Sequence[np.ndarray], labels: Sequence[np.ndarray], weights: Sequence[float], rounding: Rounding
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The sum of each head's cross-entropy times its weight, and its gradient by the logits of each."""
    total, gradients = np.zeros(()), []
    for logits, targets, weight in zip(heads, labels, weights, strict=True):
        loss, gradient = cross_entropy(logits, targets, rounding)
        total = rounding(total + weight * loss)
        gradients.append(rounding(weight * gradient))
    return total, gradients


def cross_entropy(logits: np.ndarray, labels: np.ndarray, rounding: Rounding) -> tuple[np.ndarray, np.ndarray]:
    """The mean over batch and pixels of -log softmax(logits)[label], and its gradient by the logits.

    Args:
        logits: (N, classes, H, W); a single one is that of class 1, beside a 0 for class 0.
        labels: integers (N, H, W).
    """
    if logits.shape[1] == 1:
        loss, gradient = cross_entropy(np.concatenate([np.zeros_like(logits), logits], 1), labels, rounding)
        return loss, gradient[:, 1:]
    shifted = rounding(logits - np.real(logits).max(1, keepdims=True))
    exponentials = rounding(np.exp(shifted))
    total = rounding.sum(exponentials, 1, keepdims=True)
    chosen = np.take_along_axis(rounding(shifted - np.log(total)), labels[:, None], 1)
    loss = -rounding.mean(chosen, None)
    gradient = rounding(exponentials / total)
    np.put_along_axis(gradient, labels[:, None], np.take_along_axis(gradient, labels[:, None], 1) - 1, 1)
    return loss, rounding(gradient / labels.size)
