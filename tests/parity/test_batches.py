"""The inputs of a check hide nothing, and a user's images are taken as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from parity import image_batch, random_batch
from parity.batches import Batch, brightness_classes, telling_size
from shared_specs import ShapeError, UNetSpec, load_spec
from shared_specs.shapes import feature_shapes


def test_random_batches_hide_no_swap(spec):
    batch = random_batch(spec, seed=3)
    _, channels, height, width = batch.images.shape
    assert channels == spec.in_channels
    assert height != width
    assert not (batch.images == 0).any()
    assert np.unique(batch.labels).size == spec.out_channels
    shapes = feature_shapes(spec, batch.images.shape)
    assert min(min(shape[2:]) for shape in shapes.values()) > 1
    assert batch.labels.shape == (2, *shapes["head"][2:])
    other = random_batch(spec, seed=4)
    assert not np.array_equal(batch.images, other.images)
    assert np.array_equal(batch.images, random_batch(spec, seed=3).images)


def test_random_batches_tell_the_roundings_of_a_crop_apart():
    spec = load_spec("unet_bn_crop")
    shapes = feature_shapes(spec, random_batch(spec.narrow(64)).images.shape)
    differences = [
        shapes[f"encoder.{level}.block.1.activation"][axis] - shapes[f"decoder.{level}.up"][axis]
        for level in range(4)
        for axis in (2, 3)
    ]
    assert any(difference % 4 == 3 for difference in differences)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((40, 50, 3), 255, np.uint8), 1.0),
        (np.full((40, 50, 3), 65535, np.uint16), 1.0),
        (np.full((40, 50, 3), 0.25, np.float32), 0.25),
    ],
    ids=["8 bit", "16 bit", "float"],
)
def test_images_are_scaled_by_their_type_and_cropped_to_fit(image, expected):
    batch = image_batch(load_spec("unet_bn_same").narrow(64), [image])
    assert batch.images.shape == (1, 3, 32, 48)
    assert (batch.images == expected).all()
    assert batch.origin == "1 image, 32x48 about the centre of 40x50; random labels, seed 0"


def test_images_are_cropped_about_the_centre():
    image = np.zeros((20, 18, 3))
    image[2:18, 1:17] = 1
    batch = image_batch(load_spec("unet_bn_same").narrow(64), [image, image[1:-1]])
    assert batch.images.shape == (2, 3, 16, 16)
    assert (batch.images == 1).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((32, 32)), r"image 1 has 1 channel \(grey\), unet_bn_same takes 3 \(colour\); convert"),
        (np.zeros((32, 32, 4)), r"image 1 has 4 channels, unet_bn_same takes 3 \(colour\)"),
        (np.zeros((15, 32, 3)), r"15 pixels a side is too small; expected at least 16"),
        (np.zeros((2, 2, 32, 32, 3)), r"shape \(2, 2, 32, 32, 3\), expected \(H, W\) or \(H, W, C\)"),
    ],
    ids=["grey", "alpha", "small", "dimensions"],
)
def test_images_that_do_not_fit_are_refused(image, message):
    with pytest.raises(ShapeError, match=message):
        image_batch(load_spec("unet_bn_same"), [image])


def test_no_image_is_refused():
    with pytest.raises(ShapeError, match="got no image"):
        image_batch(load_spec("unet_bn_same"), [])


TELLING = {
    "unet_paper": (203, 219),
    "unet_bn_pad": (156, 157),
    "unet_bn_same": (32, 48),
    "monai_unet": (31, 32, 47),
    "monai_basic_unet": (32, 33, 34),
    "smp_unet_resnet34": (33, 34),
    "unet3d_cicek": (99, 107, 95),
}
"""Another number on each axis: sizes at which the deepest map has two pixels a side and the most margins tell."""


@pytest.mark.parametrize(("name", "size"), TELLING.items(), ids=TELLING)
def test_sizes_at_which_the_choices_of_a_network_show(name: str, size: tuple[int, ...]) -> None:
    spec = load_spec(name)
    assert telling_size(spec) == size
    shapes = feature_shapes(spec, (1, spec.in_channels, *size))
    assert min(min(shape[2:]) for shape in shapes.values()) > 1


def test_where_every_size_is_as_good_there_is_one_for_each_axis(variant) -> None:
    """One level fits any image; the images themselves count as a map, so that one pixel is too few."""
    assert telling_size(variant(widths=[2])) == (2, 3)
    assert telling_size(variant(widths=[2], dimensions=3)) == (2, 3, 1)


CROP = {"kind": "concatenate", "order": ["skip", "upsampled"], "size_mismatch": "crop_skip", "odd_difference": "floor"}


def resampled(*factors: int) -> dict[str, Any]:
    """Two levels, the deeper one smaller by another factor along each axis."""
    keys = ("down__kernel", "down__stride", "up__kernel", "up__stride")
    return {"widths": [2, 4]} | dict.fromkeys(keys, factors)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        (resampled(2, 1), (4, 6)),
        (resampled(3, 5), (15, 15)),
        ({"widths": [2, 4], "merge": CROP, "conv__padding": 0, "up__kernel": 3}, (18, 20)),
        ({"widths": [2, 4], "merge": CROP, "conv__kernel": (3, 1), "conv__padding": 0, "block__convolutions": 1},
         (10, 11)),
    ],
    ids=["the first axis is the deepest map's shortest", "one size in reach", "odd maps", "cropped along one axis"],
)  # fmt: skip
def test_sizes_at_which_networks_that_are_rarer_show(
    variant: Callable[..., UNetSpec], changes: dict[str, Any], size: tuple[int, ...]
) -> None:
    assert telling_size(variant(**changes)) == size


def test_a_batch_is_as_large_as_it_was_asked_for() -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    batch = random_batch(spec, 7, 3, (32, 64))
    assert (batch.images.shape, batch.labels.shape) == ((3, 3, 32, 64), (3, 32, 64))
    assert batch.origin == "random images, seed 7"
    assert batch.images.dtype == np.float64
    images, labels = np.random.default_rng([7, 0]), np.random.default_rng([7, 1])  # records name 7 alone
    assert np.array_equal(batch.images, images.normal(size=(3, 3, 32, 64)))
    assert np.array_equal(batch.labels, labels.integers(0, spec.classes, (3, 32, 64)))
    assert random_batch(spec, size=(16,)).images.shape == (2, 3, 16, 16)
    assert abs(batch.images.mean()) < 0.05 and abs(batch.images.std() - 1) < 0.05
    assert batch.labels.min() == 0 and batch.labels.max() == spec.out_channels - 1
    assert np.array_equal(random_batch(spec).images, random_batch(spec, seed=0).images)
    with pytest.raises(ShapeError, match="expected one number or 2"):
        random_batch(spec, size=(16, 16, 16))


def test_labels_are_not_drawn_as_the_images_are() -> None:
    """Seeded alike, they would be as far apart in every check; and those of a user's images are the seed's."""
    spec = load_spec("unet_bn_same").narrow(16)
    first, other = (random_batch(spec, seed, 2, (32, 32)) for seed in (0, 1))
    assert not np.array_equal(first.labels, other.labels)
    images = [np.zeros((32, 32, 3))] * 2
    assert np.array_equal(image_batch(spec, images, seed=1).labels, other.labels)
    assert np.array_equal(image_batch(spec, images).labels, first.labels)
    drawn = np.random.default_rng([1, 0]).integers(0, spec.out_channels, other.labels.shape)
    assert not np.array_equal(other.labels, drawn)


@pytest.mark.parametrize(
    ("name", "sides", "size", "kept", "origin"),
    [
        ("unet_same", [(300, 290)], None, (256, 256), "1 image, 256x256 about the centre of 300x290"),
        ("unet_same", [(300, 40)], None, (256, 32), "1 image, 256x32 about the centre of 300x40"),
        ("unet_same", [(64, 64), (64, 64)], (32, 48), (32, 48), "2 images, 32x48 about the centre of 64x64"),
        ("unet_same", [(64, 64)], (40,), (32, 32), "1 image, 32x32 about the centre of 64x64"),
        ("unet_same", [(32, 48)], (64,), (32, 48), "1 image, 32x48"),
        (
            "unet_same",
            [(70, 48), (32, 90), (70, 48)],
            None,
            (32, 48),
            "3 images, 32x48 about the centre of 32x90, 70x48",
        ),
        ("monai_unet", [(50, 60, 40)], None, (48, 48, 32), "1 image, 48x48x32 about the centre of 50x60x40"),
    ],
)
def test_images_are_cropped_to_one_size_that_fits(
    name: str, sides: list[tuple[int, ...]], size: tuple[int, ...] | None, kept: tuple[int, ...], origin: str
) -> None:
    spec = load_spec(name)
    narrow = spec.narrow(16)
    random = np.random.default_rng(0)
    images = [random.normal(size=(*side, spec.in_channels)) for side in sides]
    batch = image_batch(narrow, images, seed=2, size=size)
    assert batch.images.shape == (len(images), spec.in_channels, *kept)
    assert batch.origin == f"{origin}; random labels, seed 2"
    for image, side, found in zip(images, sides, batch.images, strict=True):
        middle = tuple(
            slice((have - keep) // 2, (have - keep) // 2 + keep) for have, keep in zip(side, kept, strict=True)
        )
        assert np.array_equal(found, np.moveaxis(image, -1, 0)[(slice(None), *middle)])


def test_a_network_of_one_level_takes_an_image_of_one_row(variant: Callable[..., UNetSpec]) -> None:
    batch = image_batch(variant(widths=[2]), [np.ones((1, 5, 3))])
    assert (batch.images.shape, batch.origin) == ((1, 3, 1, 5), "1 image, 1x5; random labels, seed 0")


def test_a_grey_image_may_have_no_axis_for_it_and_an_odd_crop_begins_before_the_middle() -> None:
    spec = load_spec("unet_same").model_copy(update={"in_channels": 1})
    image = np.arange(35.0 * 33).reshape(35, 33)
    batch = image_batch(spec, [image])
    assert np.array_equal(batch.images[0, 0], image[1:33, 0:32])
    assert np.array_equal(image_batch(spec, [image[..., None]]).images, batch.images)
    signed = image_batch(spec, [np.full((16, 16), -127, np.int8)])
    assert (signed.images == -1).all()


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        (
            "unet_bn_same",
            [np.zeros((32, 32, 3)), np.zeros((32, 32, 1))],
            "image 2 has 1 channel (grey), unet_bn_same takes 3 (colour); convert the image or take another spec",
        ),
        (
            "unet_paper",
            [np.zeros((32, 32, 2))],
            "image 1 has 2 channels, unet_paper takes 1 (grey); convert the image or take another spec",
        ),
        ("unet_same", [np.zeros(32)], "image 1 has shape (32,), expected (H, W) or (H, W, C)"),
        ("monai_unet", [np.zeros((32, 32))], "image 1 has shape (32, 32), expected (D, H, W) or (D, H, W, C)"),
        ("unet_same", [], "unet_same: got no image, expected at least one"),
        (
            "unet_same",
            [np.zeros((40, 15, 3))],
            "unet_same: an image of 15 pixels a side is too small; expected at least 16",
        ),
    ],
    ids=["second", "two channels", "a row", "a slice", "none", "small"],
)
def test_each_refusal_says_which_image_and_what_to_do(name: str, images: list[np.ndarray], message: str) -> None:
    with pytest.raises(ShapeError) as error:
        image_batch(load_spec(name), images)
    assert str(error.value) == message


def test_an_image_of_a_network_that_takes_neither_grey_nor_colour(variant: Callable[..., UNetSpec]) -> None:
    with pytest.raises(ShapeError) as error:
        image_batch(variant(in_channels=2), [np.zeros((32, 32, 3))])
    assert str(error.value) == (
        "image 1 has 3 channels (colour), variant takes 2; convert the image or take another spec"
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [("unet_same", (16, 32)), ("unet_paper", (188, 204)), ("monai_unet", (16, 16, 32)), ("one pixel is lost", (6, 9))],
)
def test_classes_are_quantiles_of_the_blurred_mean_over_the_channels(
    name: str, size: tuple[int, ...], variant: Callable[..., UNetSpec]
) -> None:
    """Against SciPy's convolution, with the edges repeated."""
    one_lost = {"widths": [2], "block__convolutions": 1, "conv__kernel": 4}
    spec = variant(**one_lost) if name == "one pixel is lost" else load_spec(name)
    batch = random_batch(spec, 0, 2, size)
    images = np.concatenate([batch.images, 0.5 * batch.images[:, :, ::-1] ** 2], axis=1)
    found = brightness_classes(
        spec.model_copy(update={"in_channels": images.shape[1]}), Batch(images, batch.labels, "two")
    )
    blurred = images.mean(1)
    for axis in range(1, blurred.ndim):
        for _ in range(2):
            blurred = scipy.ndimage.convolve1d(blurred, np.array([1, 4, 6, 4, 1]) / 16, axis, mode="nearest")
    kept = batch.labels.shape[1:]
    for axis, (have, keep) in enumerate(zip(size, kept, strict=True), start=1):
        blurred = blurred.take(range((have - keep) // 2, (have - keep) // 2 + keep), axis)
    edges = np.quantile(blurred, [number / spec.out_channels for number in range(1, spec.out_channels)])
    assert np.mean(found.labels == (blurred[..., None] >= edges).sum(-1)) > 0.999
    assert found.origin == f"two; labels: {spec.out_channels} classes by the brightness of each pixel's surroundings"


@pytest.mark.parametrize(
    ("before", "kept"), [("a; b; random labels, seed 0", "a; b"), ("a; random labels, seed 0", "a"), ("a", "a")]
)
def test_what_was_said_of_the_labels_before_is_no_longer_said(before: str, kept: str) -> None:
    spec = load_spec("unet_same")
    origin = brightness_classes(spec, replace(random_batch(spec, 0, 1, (16, 16)), origin=before)).origin
    assert origin == f"{kept}; labels: {spec.out_channels} classes by the brightness of each pixel's surroundings"


def test_where_logits_are_larger_than_the_images_edges_are_repeated() -> None:
    """15 pixels become 16, and 31 become 32."""
    spec = load_spec("monai_unet")
    batch = random_batch(spec, 0, 1, (15, 16, 31))
    assert batch.labels.shape == (1, 16, 16, 32)
    labels = brightness_classes(spec, batch).labels
    assert labels.shape == batch.labels.shape
    counts = np.bincount(labels.ravel())
    assert counts.size == spec.out_channels and counts.min() > labels.size / 2 / spec.out_channels
    assert np.array_equal(labels[:, 15], labels[:, 14])
    assert np.array_equal(labels[..., 31], labels[..., 30])
    assert not np.array_equal(labels[:, 14], labels[:, 13])
    assert not np.array_equal(labels[:, 1], labels[:, 0])


def test_edges_are_repeated_on_both_sides(variant: Callable[..., UNetSpec]) -> None:
    """A convolution padded by 5 makes maps 4 pixels longer on each side."""
    spec = variant(widths=[2], block__convolutions=1, conv__padding=5)
    (labels,) = brightness_classes(spec, random_batch(spec, 0, 1, (6, 7))).labels
    assert labels.shape == (14, 15)
    inner = labels[4:-4, 4:-4]
    assert np.array_equal(labels, np.pad(inner, 4, mode="edge"))
    assert not np.array_equal(labels, np.pad(inner[1:-1, 1:-1], 5, mode="edge"))
