"""What a network is trained on: labels for the final head and, with deep supervision, for the deeper ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .shapes import Axes, Shape, feature_shapes

if TYPE_CHECKING:
    from .schema import UNetSpec


def labels_of_heads(spec: UNetSpec, images: Shape, labels: np.ndarray) -> list[np.ndarray]:
    """Labels for each head, the final one's first, in the order of `spec.loss_weights`.

    Args:
        spec: the network.
        images: their shape (N, C, H, W).
        labels: integers (N, H', W') of the size of the logits.
    """
    shapes = feature_shapes(spec, images) if spec.deep_logits else {}
    return [labels] + [nearest(labels, shapes[name][2:]) for name in spec.deep_logits]


def nearest(labels: np.ndarray, size: Axes) -> np.ndarray:
    """Labels (N, H, W) at another size, by nearest neighbours: output i takes label floor(i in / out)."""
    for axis, (before, after) in enumerate(zip(labels.shape[1:], size, strict=True), start=1):
        labels = labels.take(np.arange(after) * before // after, axis)
    return labels
