"""The inputs of a check hide nothing, and a user's images are taken as they are."""

from __future__ import annotations

import numpy as np
import pytest

from parity import image_batch, random_batch
from shared_specs import ShapeError, load_spec
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
