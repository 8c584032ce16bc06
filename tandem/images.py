"""Users' images: PNG, JPEG, TIFF and NPY files as arrays, by what a file holds and not by what it is called."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from shared_specs import TandemError
from shared_specs.errors import one_line

KINDS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # BigTIFF
    b"MM\x00+": "TIFF",
    b"\x93NUMPY": "NPY",
}
"""The first bytes of each kind of file."""

TAKEN = "expected an image in PNG, JPEG, TIFF or NPY"

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "float16", "float32", "float64")

LABEL_DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")

Note = Callable[[str], None]


class ImageError(TandemError):
    """A file that cannot be read as an image."""


def read_images(
    paths: Iterable[str | Path], note: Note = lambda text: None, dtypes: tuple[str, ...] = DTYPES
) -> list[np.ndarray]:
    """Read image files, in order, as `read_image` does."""
    return [read_image(path, note, dtypes) for path in paths]


def read_image(path: str | Path, note: Note = lambda text: None, dtypes: tuple[str, ...] = DTYPES) -> np.ndarray:
    """Read one image file.

    Args:
        path: of a PNG, JPEG, TIFF or NPY file.
        note: is told what of the file was left out: an alpha channel, further pages, the lower 8 of 16 bits.
        dtypes: what the values may be.

    Returns:
        (H, W) for a grey image, (H, W, C) else, in the file's own type: 8 or 16 bit integers, floats or booleans.
        An NPY file may hold a volume: (D, H, W) or (D, H, W, C).

    Raises:
        ImageError: where the file is missing, truncated, no image, empty, or holds NaN or Inf.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); {TAKEN}") from error
    kind = next((kind for magic, kind in KINDS.items() if start.startswith(magic)), None)
    if kind is None:
        raise ImageError(f"{path}: is {'empty' if not start else 'no image that Tandem knows'}; {TAKEN}")
    read = {"NPY": _read_npy, "TIFF": _read_tiff}.get(kind, _read_with_pillow)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on metadata, mostly; what matters is checked below
            image = read(path, lambda text: note(f"{path}: {text}"))
    except ImageError:
        raise
    except Exception as error:  # decoders raise all sorts on damaged files: struct.error, KeyError, SyntaxError ...
        reason = one_line(str(error)) or type(error).__name__
        raise ImageError(f"{path}: is no whole {kind} file ({reason}); save it again, {TAKEN}") from error
    return _checked(path, image, dtypes)


def _checked(path: Path, image: np.ndarray, dtypes: tuple[str, ...]) -> np.ndarray:
    if image.dtype.name not in dtypes:
        raise ImageError(f"{path}: holds {image.dtype.name} values, expected {', '.join(dtypes)}; convert it")
    if image.ndim not in (2, 3, 4) or not image.size:
        raise ImageError(f"{path}: has shape {image.shape}, expected (H, W) or (H, W, C) with none of them 0")
    if not np.isfinite(image).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(image))[0])
        raise ImageError(f"{path}: holds {image[where]} at {where}, expected finite values; mend the image there")
    return image


def _read_npy(path: Path, note: Note) -> np.ndarray:
    image = np.load(path, allow_pickle=False)
    return image.astype(image.dtype.newbyteorder("="))


def _read_tiff(path: Path, note: Note) -> np.ndarray:
    """Pillow knows palettes, alpha and every compression of 8-bit files; tifffile keeps 16 bits and floats."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, pages = file.pages[0], len(file.pages)
        if pages > 1:
            note(f"holds {pages} pages; the first is taken")
        if not isinstance(page, tifffile.TiffPage) or page.dtype in (np.uint8, bool):
            return _read_with_pillow(path, note)
        image = page.asarray()
        if image.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            image = np.moveaxis(image, 0, -1)
        if image.ndim == 3 and page.extrasamples:
            kept = image.shape[-1] - len(page.extrasamples)
            note(f"{len(page.extrasamples)} alpha or extra channels are left out; {kept} are taken")
            image = image[..., :kept]
    return image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image


def _read_with_pillow(path: Path, note: Note) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path, formats=["PNG", "JPEG", "TIFF"]) as file:
        # Pillow cuts 16-bit colour down to 8 bits and leaves only this trace of it.
        cut = any("16" in str(part) for tile in file.tile for part in _modes(tile.args))
        file.load()
        image = ImageOps.exif_transpose(file)
    if cut and not image.mode.startswith("I"):
        note("16 bit colour is read as 8 bit; save it as TIFF or NPY to keep all of it")
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        note("the alpha channel is left out")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        note(f"{image.mode} is converted to RGB")
    if image.mode == "F":
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))


def _modes(arguments: object) -> tuple[object, ...]:
    return arguments if isinstance(arguments, tuple) else (arguments,)
