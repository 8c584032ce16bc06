"""Which images a module is run with: those that it takes, and that show the most of what a spec says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backends import trace as tracing
from backends.trace import NoImagesError, Trace, TraceError
from shared_specs import ShapeError, SpecError, UNetSpec

from ..batches import Batch, random_batch
from .differences import words
from .found import Match
from .inference import Inference, infer

SPEC_NAME = "adopted"
"""What an inferred spec is called."""

SIZES = {
    2: ((95, 110), (96, 128), (203, 219), (256, 320), (188, 188), (256, 512), (256, 256)),
    3: ((47, 54, 46), (48, 64, 32), (95, 110, 94), (96, 128, 64)),
}
"""Images to try, by dimensions, where nobody says which a module takes. Odd ones first: they show what happens where
sizes do not fit. 188 is what unpadded convolutions of up to five levels take where they crop all sides alike, and nine
levels halve 256."""

MOST_PIXELS = 2**17
"""Larger images are not compared where smaller ones will do."""


def images_of(example: np.ndarray | Sequence[int], seed: int) -> np.ndarray:
    """Images (N, C, H, W) as they are, or random ones of a shape."""
    if np.ndim(example) > 1:
        return np.asarray(example, np.float64)
    return np.random.default_rng([seed, 0]).normal(size=tuple(int(side) for side in example))


def first_trace(module: Any, images: np.ndarray | None) -> Trace:
    """With the images given, or else with the first of SIZES that the module takes."""
    if images is not None:
        return tracing.trace(module, images)
    channels, dimensions = tracing.first_convolution(module)
    return _trace_at(module, channels, SIZES[dimensions])


def _trace_at(module: Any, channels: int, sizes: Sequence[Sequence[int]]) -> Trace:
    """With images of the first of these sizes that the module takes. Raises NoImagesError, as for the last one."""
    problem = ""
    for size in sizes:
        try:
            return tracing.trace(module, (1, channels, *size))
        except TraceError as error:
            problem = str(error)
    raise NoImagesError(f"{problem}; so it does on other sizes; expected images that it takes, or their shape")


def again(module: Any, traced: Trace, inference: Inference, seed: int) -> tuple[Trace, Inference]:
    """With the images at which the spec found so far shows the most, and which the proof will use."""
    assert inference.spec is not None
    try:
        anew = tracing.trace(module, telling_batch(inference.spec, seed).images)
    except TraceError:  # the module refuses sizes that the spec does not
        return traced, inference
    second = infer(anew, SPEC_NAME)
    return (anew, second) if second.spec is not None else (traced, inference)


def trace_as(module: Any, spec: UNetSpec, images: np.ndarray | None, seed: int) -> Trace:
    """With images that show the spec's choices, or others where the module refuses those, to find where they part."""
    if images is not None:
        return tracing.trace(module, images)
    channels, dimensions = tracing.first_convolution(module)
    if dimensions != spec.dimensions:
        raise SpecError(
            f"{spec.name}: is in {spec.dimensions} dimensions and the module in {dimensions}; name another spec, "
            f"or a copy of its file with dimensions = {dimensions}"
        )
    return _trace_at(module, channels, (telling_batch(spec, seed).images.shape[2:], *SIZES[dimensions]))


def telling_batch(spec: UNetSpec, seed: int) -> Batch:
    """Random images of a size that shows the spec's choices, or where that is large, of the first of SIZES that fits.

    Nine levels ask for 512 x 768 pixels, which a proof in float64 has no memory for at a generator's usual widths.
    """
    batch = random_batch(spec, seed)
    pixels = math.prod(batch.images.shape[2:])
    for size in SIZES[spec.dimensions] if pixels > MOST_PIXELS else ():
        with contextlib.suppress(ShapeError):
            if math.prod(size) < pixels:
                return random_batch(spec, seed, size=size)
    return batch


def proof_batch(spec: UNetSpec, module: Any, found: Match, seed: int) -> tuple[Batch, tuple[str, ...]]:
    """Images that show the spec's choices, or where the module refuses those, of the size that was traced, and why.

    A module may take less than its spec: square images only, for instance, where it crops by the height alone.
    """
    batch, traced = telling_batch(spec, seed), found.trace.shapes[0][2:]
    if batch.images.shape[2:] == traced:
        return batch, ()
    try:
        tracing.trace(module, batch.images)
    except TraceError:
        name, size = found.trace.module, words(batch.images.shape[2:])
        refused = f"images of {words(traced)} stand for all: {name} fails on those of {size}, which {spec.name} takes"
        return random_batch(spec, seed, size=traced), (refused,)
    return batch, ()


def batch_of(spec: UNetSpec, images: np.ndarray, seed: int) -> Batch:
    """Images with random labels."""
    labels = random_batch(spec, seed, len(images), images.shape[2:]).labels
    return Batch(images, labels, "the example")
