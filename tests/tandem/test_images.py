"""What is written as PNG, JPEG, TIFF or NPY is read back: values, type, and what was left out is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tandem.images import ImageError, read_image, read_images

SIDES = st.integers(1, 24)


def arrays(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Grey (H, W) and colour (H, W, 3) images of any size, with values over the type's whole range."""
    shapes = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.just(3))

    def fill(shape: tuple[int, ...], seed: int) -> np.ndarray:
        random, kind = np.random.default_rng(seed), np.dtype(dtype)
        if kind.kind == "f":
            return random.normal(0, 100, shape).astype(kind)
        return random.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind.newbyteorder("="), True).astype(kind)

    return st.builds(fill, shapes, st.integers(0, 2**32))


def write(path: Path, image: np.ndarray, kind: str) -> Path:
    match kind:
        case "npy":
            with path.open("wb") as file:
                np.save(file, image)
        case "tiff":
            tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack")
        case _:
            Image.fromarray(image).save(path, format=kind)
    return path


LOSSLESS = [
    *(("npy", dtype) for dtype in ("uint8", "uint16", "int16", "float16", "float32", "float64", ">u2", ">f4")),
    *(("tiff", dtype) for dtype in ("uint8", "uint16", "int16", "float32", "float64")),
    ("png", "uint8"),
]


@pytest.mark.parametrize(("kind", "dtype"), LOSSLESS, ids=["-".join(case) for case in LOSSLESS])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_pixel_comes_back(tmp_path: Path, kind: str, dtype: str, data: st.DataObject) -> None:
    image = data.draw(arrays(dtype))
    read = read_image(write(tmp_path / "image", image, kind))
    assert read.dtype == image.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, image)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=arrays("uint16").filter(lambda image: image.ndim == 2))
def test_grey_png_keeps_16_bits(tmp_path: Path, image: np.ndarray) -> None:
    np.testing.assert_array_equal(read_image(write(tmp_path / "image", image, "png")), image)


@pytest.mark.parametrize("shape", [(17, 33), (17, 33, 3)], ids=["grey", "colour"])
def test_jpeg_comes_back_nearly(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.linspace(20, 200, shape[0]).astype(np.uint8).reshape(-1, *[1] * (len(shape) - 1))
    image = np.ascontiguousarray(np.broadcast_to(rows, shape))
    read = read_image(write(tmp_path / "image.jpg", image, "jpeg"))
    assert read.shape == shape and read.dtype == np.uint8
    assert np.abs(read.astype(int) - image).max() <= 8


def test_kind_is_told_by_the_content(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_image(write(tmp_path / "really_a_png.jpg", image, "png")), image)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_is_left_out_and_said(tmp_path: Path, mode: str) -> None:
    path, notes = tmp_path / "image.png", list[str]()
    source = Image.new("RGBA", (4, 3), (10, 10, 10, 128)).convert("P" if mode == "PA" else mode)
    source.save(path, **({"transparency": 0} if mode == "PA" else {}))
    read = read_image(path, notes.append)
    assert read.shape == ((3, 4) if mode == "LA" else (3, 4, 3))
    assert [note for note in notes if "alpha" in note and str(path) in note]


def test_alpha_of_a_16_bit_tiff_is_left_out_and_said(tmp_path: Path) -> None:
    notes = list[str]()
    image = np.arange(48, dtype=np.uint16).reshape(3, 4, 4)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(path, notes.append), image[..., :3])
    assert "1 alpha or extra channels are left out" in notes[0]


def test_planar_tiff_has_its_channels_last(tmp_path: Path) -> None:
    image = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif"), np.moveaxis(image, 0, -1))


def test_first_of_several_pages_is_taken_and_said(tmp_path: Path) -> None:
    notes = list[str]()
    pages = np.arange(40, dtype=np.uint16).reshape(2, 4, 5)
    tifffile.imwrite(tmp_path / "image.tif", pages, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif", notes.append), pages[0])
    assert "holds 2 pages" in notes[0]


def test_16_bit_colour_png_is_read_as_8_bit_and_said(photograph) -> None:
    notes = list[str]()
    assert read_image(photograph("chessboard_RGB.png"), notes.append).dtype == np.uint8
    assert "16 bit colour" in notes[0]


def test_camera_rotation_is_applied(tmp_path: Path) -> None:
    path, exif = tmp_path / "image.jpg", Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("L", (8, 4)).save(path, exif=exif)
    assert read_image(path).shape == (8, 4)


def test_many_are_read_in_order(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.npy", np.full((2, 2), i, np.uint8), "npy") for i in range(3)]
    assert [int(image[0, 0]) for image in read_images(paths)] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "npy"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_files_are_refused(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    whole = write(tmp_path / "whole", image, kind).read_bytes()
    # The last bytes of JPEG and PNG end the file and hold no pixels.
    path = tmp_path / "cut"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 200))])
    with pytest.raises(ImageError, match=r"(no whole|is empty|no image that Tandem knows).*PNG, JPEG, TIFF or NPY"):
        read_image(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00+", b"\x93NUMPY\x01\x00", b""]),
    rest=st.binary(max_size=200),
)
def test_garbage_is_refused_in_one_line(tmp_path: Path, start: bytes, rest: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(start + rest)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


ODD = {
    "complex": (np.zeros((2, 2), complex), "complex128 values, expected bool, uint8"),
    "int64": (np.zeros((2, 2), np.int64), "int64 values, expected bool, uint8"),
    "text": (np.array([["a"]]), "str32 values"),
    "pickle": (np.array([[{}]], object), "no whole NPY file"),
    "empty": (np.zeros((0, 4)), r"has shape \(0, 4\)"),
    "one_axis": (np.zeros(4), r"has shape \(4,\)"),
    "five_axes": (np.zeros((1, 2, 2, 2, 3)), r"has shape \(1, 2, 2, 2, 3\)"),
    "nan": (np.array([[0.0, np.nan]]), r"holds nan at \(0, 1\), expected finite values"),
    "inf": (np.array([[0.0], [-np.inf]]), r"holds -inf at \(1, 0\), expected finite values"),
}


@pytest.mark.parametrize(("array", "message"), ODD.values(), ids=ODD)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "odd.npy", array)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "odd.npy")
