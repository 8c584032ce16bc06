"""The inputs of a check: random ones that hide nothing, or a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared_specs import ShapeError, UNetSpec
from shared_specs.shapes import feature_shapes, output_shape, smallest_input

LARGEST_CROP = 256
"""Pixels a side that are kept of a user's images unless a size is asked for: a check needs no more."""


@dataclass(frozen=True)
class Batch:
    """What the networks are fed.

    Attributes:
        images: floats (N, C, H, W).
        labels: integers (N, H', W') of the size of the logits.
        origin: where they come from, in words.
    """

    images: np.ndarray
    labels: np.ndarray
    origin: str


def random_batch(spec: UNetSpec, seed: int = 0, count: int = 2, size: tuple[int, int] | None = None) -> Batch:
    """Normal images with random labels: not square, nothing zero, nothing symmetric, so that no swap hides.

    Raises:
        ShapeError: where the network cannot take `size` (height, width), in pixels.
    """
    height, width = size or telling_size(spec)
    random = np.random.default_rng([seed, 0])
    images = random.normal(size=(count, spec.in_channels, height, width))
    return Batch(images, _labels(spec, images, seed), f"random images, seed {seed}")


def image_batch(
    spec: UNetSpec, images: Sequence[np.ndarray], seed: int = 0, size: tuple[int, int] | None = None
) -> Batch:
    """A batch of a user's images, cropped about the centre to one size that the network can take.

    Integers are scaled by their type's largest value, floats are taken as they are. Labels are random.

    Args:
        spec: the network.
        images: arrays (H, W) or (H, W, C).
        seed: of the labels.
        size: the largest (height, width) to keep, in pixels; 256 a side by default.

    Raises:
        ShapeError: where the channels are not the network's, or an image is too small.
    """
    arrays = [_channels_first(spec, image, position) for position, image in enumerate(images, start=1)]
    if not arrays:
        raise ShapeError(f"{spec.name}: got no image, expected at least one")
    limits = [min(array.shape[axis] for array in arrays) for axis in (1, 2)]
    wanted = size or (LARGEST_CROP, LARGEST_CROP)
    height, width = (_largest_fit(spec, min(limit, most)) for limit, most in zip(limits, wanted, strict=True))
    batch = np.stack([_centre(array, height, width) for array in arrays])
    kept = {f"{array.shape[1]}x{array.shape[2]}" for array in arrays} - {f"{height}x{width}"}
    cropped = f", {height}x{width} about the centre of {', '.join(sorted(kept))}" if kept else f", {height}x{width}"
    origin = f"{len(arrays)} image{'s' if len(arrays) > 1 else ''}{cropped}; random labels, seed {seed}"
    return Batch(batch, _labels(spec, batch, seed), origin)


def telling_size(spec: UNetSpec) -> tuple[int, int]:
    """A small (height, width), not square, at which the network's choices show.

    The deepest map has at least two pixels a side, so that its batch statistics are not degenerate. Where maps are
    cropped or padded, differences of 3 (mod 4) are looked for: only there do the two roundings of a half part.
    """
    start = smallest_input(spec)
    step = spec.down.stride ** (spec.levels - 1)
    telling: dict[int, int] = {}
    for size in range(start, start + 2 * step + 1):
        try:
            shapes = feature_shapes(spec, (1, spec.in_channels, size, size))
        except ShapeError:
            continue
        deepest = min(shape[2] for shape in shapes.values())
        differences = [
            shapes[_last_of_encoder(spec, level)][2] - shapes[f"decoder.{level}.up"][2]
            for level in range(spec.levels - 1)
        ]
        telling[size] = (deepest > 1) * (1 + sum(difference % 4 == 3 for difference in differences))
    ranked = sorted(telling, key=lambda size: (-telling[size], size))
    return (ranked[0], ranked[1]) if len(ranked) > 1 else (ranked[0], ranked[0])


def _last_of_encoder(spec: UNetSpec, level: int) -> str:
    return [layer.name for layer in spec.layers if layer.stage == "encoder" and layer.level == level][-1]


def _labels(spec: UNetSpec, images: np.ndarray, seed: int) -> np.ndarray:
    count, channels, height, width = images.shape
    count, classes, height, width = output_shape(spec, (count, channels, height, width))
    return np.random.default_rng([seed, 1]).integers(0, classes, (count, height, width))


def _channels_first(spec: UNetSpec, image: np.ndarray, position: int) -> np.ndarray:
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3:
        raise ShapeError(f"image {position} has shape {image.shape}, expected (H, W) or (H, W, C)")
    channels = image.shape[2]
    if channels != spec.in_channels:
        kinds = {1: " (grey)", 3: " (colour)"}
        raise ShapeError(
            f"image {position} has {channels} channel{'s' if channels > 1 else ''}{kinds.get(channels, '')}, "
            f"{spec.name} takes {spec.in_channels}{kinds.get(spec.in_channels, '')}; "
            "convert the image or take another spec"
        )
    scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1.0
    return image.transpose(2, 0, 1).astype(np.float64) / scale


def _largest_fit(spec: UNetSpec, limit: int) -> int:
    for size in range(limit, 0, -1):
        try:
            output_shape(spec, (1, spec.in_channels, size, size))
        except ShapeError:
            continue
        return size
    raise ShapeError(
        f"{spec.name}: an image of {limit} pixels a side is too small; expected at least {smallest_input(spec)}"
    )


def _centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]
