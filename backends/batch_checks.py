"""Images and labels that a network cannot take are refused in the same words by every backend."""

from __future__ import annotations

import math

import numpy as np

from shared_specs import ShapeError, UNetSpec
from shared_specs.shapes import axis_names, feature_shapes


def check_images(spec: UNetSpec, images: np.ndarray) -> None:
    """Raises ShapeError as `Model.check_images` says."""
    if not np.isfinite(images).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(images))[0])
        raise ShapeError(f"{spec.name}: images hold {images[where]} at {where}, expected finite values")
    shapes = feature_shapes(spec, images.shape)
    for layer in spec.layers:
        if layer.kind in ("instance_norm", "group_norm"):
            groups = layer.out_channels if layer.kind == "instance_norm" else layer.settings.groups
            if layer.out_channels // groups * math.prod(shapes[layer.name][2:]) == 1:
                raise ShapeError(_no_variance(spec, layer.name, "a group"))


def check_labels(spec: UNetSpec, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Labels for images that the network can take, and those images in training. Raises ShapeError as
    `Model.check_step` says."""
    shapes = feature_shapes(spec, images.shape)
    count, _, *size = shapes[spec.logits]
    if labels is None or labels.shape != (count, *size):
        got = None if labels is None else labels.shape
        axes = axis_names(spec).replace("C, ", "")
        raise ShapeError(f"{spec.name}: got labels of shape {got}, expected {axes} = {(count, *size)}")
    if labels.dtype.kind not in "iu":
        raise ShapeError(f"{spec.name}: got labels of dtype {labels.dtype}, expected integers")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= spec.classes:
        raise ShapeError(f"{spec.name}: labels run from {low} to {high}, expected 0 to {spec.classes - 1}, one a class")
    for layer in spec.layers:
        n, _, *sides = shapes[layer.name]
        if layer.kind == "batch_norm" and n * math.prod(sides) == 1:
            raise ShapeError(_no_variance(spec, layer.name, "a channel", "a larger batch or "))


def _no_variance(spec: UNetSpec, layer: str, of: str, or_else: str = "") -> str:
    return f"{spec.name}: {layer} sees one value {of}, which has no variance; take {or_else}larger images"
