"""The inputs of a check: random ones that hide nothing, or a user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared_specs import ShapeError, UNetSpec
from shared_specs.layout import IMAGES
from shared_specs.shapes import Axes, feature_shapes, output_shape, size_label, size_of, smallest_input, total_stride

LARGEST_CROP = {2: 256, 3: 48}
"""Pixels a side that are kept of a user's images unless a size is asked for, by dimensions: a check needs no more."""


@dataclass(frozen=True)
class Batch:
    """What the networks are fed.

    Attributes:
        images: floats (N, C, H, W), or (N, C, D, H, W).
        labels: integers (N, H', W'), or (N, D', H', W'), of the size of the logits.
        origin: where they come from, in words.
    """

    images: np.ndarray
    labels: np.ndarray
    origin: str


def random_batch(spec: UNetSpec, seed: int = 0, count: int = 2, size: Sequence[int] | None = None) -> Batch:
    """Normal images with random labels: not square, nothing zero, nothing symmetric, so that no swap hides.

    Args:
        spec: the network.
        seed: of images and labels.
        count: how many images.
        size: (height, width), or (depth, height, width), in pixels; one number for all axes.

    Raises:
        ShapeError: where the network cannot take the size.
    """
    random = np.random.default_rng([seed, 0])
    images = random.normal(size=(count, spec.in_channels, *(size_of(spec, size) if size else telling_size(spec))))
    return Batch(images, _labels(spec, images, seed), f"random images, seed {seed}")


def image_batch(
    spec: UNetSpec, images: Sequence[np.ndarray], seed: int = 0, size: Sequence[int] | None = None
) -> Batch:
    """A batch of a user's images, cropped about the centre to one size that the network can take.

    Integers are scaled by their type's largest value, floats are taken as they are. Labels are random.

    Args:
        spec: the network.
        images: arrays (H, W) or (H, W, C); of a 3-D network (D, H, W) or (D, H, W, C).
        seed: of the labels.
        size: the largest size to keep, in pixels; 256 a side by default, 48 in 3-D.

    Raises:
        ShapeError: where the channels are not the network's, or an image is too small.
    """
    arrays = [_channels_first(spec, image, position) for position, image in enumerate(images, start=1)]
    if not arrays:
        raise ShapeError(f"{spec.name}: got no image, expected at least one")
    wanted = size_of(spec, size or (LARGEST_CROP[spec.dimensions],))
    limits = [min(most, *(array.shape[axis] for array in arrays)) for axis, most in enumerate(wanted, start=1)]
    kept = tuple(_largest_fit(spec, limit) for limit in limits)
    batch = np.stack([_centre(array, kept) for array in arrays])
    larger = {size_label(array.shape[1:]) for array in arrays} - {size_label(kept)}
    cropped = f", {size_label(kept)}" + (f" about the centre of {', '.join(sorted(larger))}" if larger else "")
    origin = f"{len(arrays)} image{'s' if len(arrays) > 1 else ''}{cropped}; random labels, seed {seed}"
    return Batch(batch, _labels(spec, batch, seed), origin)


def brightness_classes(spec: UNetSpec, batch: Batch) -> Batch:
    """The same images with labels that can be learned from them: how bright each pixel's surroundings are.

    The mean over the channels is blurred by two binomial filters of 5 taps along each axis, and cut at its quantiles,
    so that every class has as many pixels. Where the logits are smaller than the images, it is that of their middle,
    and where they are larger, edges are repeated.
    """
    classes, (_, _, *size) = spec.classes, output_shape(spec, batch.images.shape)
    brightness = batch.images.mean(1)
    for axis in range(1, brightness.ndim):
        brightness = _blurred(_blurred(brightness, axis), axis)
    lacking = [max(0, wanted - have) for wanted, have in zip(size, brightness.shape[1:], strict=True)]
    brightness = np.pad(brightness, [(0, 0), *((lack // 2, lack - lack // 2) for lack in lacking)], mode="edge")
    seen = np.stack([_centre(image, tuple(size)) for image in brightness[:, None]])[:, 0]
    edges = np.quantile(seen, np.linspace(0, 1, classes + 1)[1:-1])
    origin = batch.origin.rpartition(";")[0] or batch.origin
    origin += f"; labels: {classes} classes by the brightness of each pixel's surroundings"
    return Batch(batch.images, np.digitize(seen, edges), origin)


def telling_size(spec: UNetSpec) -> Axes:
    """A small size, another one on each axis, at which the network's choices show.

    The deepest map has at least two pixels a side, so that its batch statistics are not degenerate. Where maps are
    cropped or padded, differences of 3 (mod 4) are looked for: only there do the two roundings of a half part.
    """
    start = smallest_input(spec)
    merged = [layer.inputs for layer in spec.layers if layer.kind == "merge"]
    telling: dict[int, int] = {}
    for size in range(start, start + 2 * max(total_stride(spec)) + 1):
        images = (1, spec.in_channels) + (size,) * spec.dimensions
        try:
            shapes = {IMAGES: images} | feature_shapes(spec, images)
        except ShapeError:
            continue
        deepest = min(min(shape[2:]) for shape in shapes.values())
        differences = [shapes[skip][2] - shapes[upsampled][2] for skip, *_, upsampled in merged]
        telling[size] = (deepest > 1) * (1 + sum(difference % 4 == 3 for difference in differences))
    ranked = sorted(telling, key=lambda size: (-telling[size], size))
    return tuple(ranked[min(axis, len(ranked) - 1)] for axis in range(spec.dimensions))


def _labels(spec: UNetSpec, images: np.ndarray, seed: int) -> np.ndarray:
    count, _, *size = output_shape(spec, images.shape)
    return np.random.default_rng([seed, 1]).integers(0, spec.classes, (count, *size))


def _blurred(x: np.ndarray, axis: int) -> np.ndarray:
    """Along one axis by (1, 4, 6, 4, 1) / 16, edges repeated."""
    padded = np.pad(x, [(2 * (number == axis),) * 2 for number in range(x.ndim)], mode="edge")
    shifted = np.lib.stride_tricks.sliding_window_view(padded, 5, axis)
    return shifted @ (np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16)


def _channels_first(spec: UNetSpec, image: np.ndarray, position: int) -> np.ndarray:
    if image.ndim == spec.dimensions:
        image = image[..., None]
    if image.ndim != spec.dimensions + 1:
        axes = {2: "(H, W) or (H, W, C)", 3: "(D, H, W) or (D, H, W, C)"}[spec.dimensions]
        raise ShapeError(f"image {position} has shape {image.shape}, expected {axes}")
    channels = image.shape[-1]
    if channels != spec.in_channels:
        kinds = {1: " (grey)", 3: " (colour)"}
        raise ShapeError(
            f"image {position} has {channels} channel{'s' if channels > 1 else ''}{kinds.get(channels, '')}, "
            f"{spec.name} takes {spec.in_channels}{kinds.get(spec.in_channels, '')}; "
            "convert the image or take another spec"
        )
    scale = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1.0
    return np.moveaxis(image, -1, 0).astype(np.float64) / scale


def _largest_fit(spec: UNetSpec, limit: int) -> int:
    for size in range(limit, 0, -1):
        try:
            output_shape(spec, (1, spec.in_channels) + (size,) * spec.dimensions)
        except ShapeError:
            continue
        return size
    raise ShapeError(
        f"{spec.name}: an image of {limit} pixels a side is too small; expected at least {smallest_input(spec)}"
    )


def _centre(image: np.ndarray, size: Axes) -> np.ndarray:
    """The middle of an image (C, H, W)."""
    starts = [(have - keep) // 2 for have, keep in zip(image.shape[1:], size, strict=True)]
    return image[(slice(None), *(slice(start, start + keep) for start, keep in zip(starts, size, strict=True)))]
