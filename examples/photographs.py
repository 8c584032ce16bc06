"""What the training examples share: crops of a photograph from scikit-image's wheel, and the file of their losses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared_specs import UNetSpec


def stained_tissue() -> np.ndarray:
    """The immunohistochemistry photograph as floats (H, W, 3) in 0..1. Nothing is downloaded."""
    try:
        import skimage
    except ImportError:
        raise SystemExit("this example needs scikit-image for its photograph: pip install scikit-image") from None
    path = Path(skimage.__file__).parent / "data" / "ihc.png"
    if not path.is_file():
        raise SystemExit("this release of scikit-image does not contain ihc.png; take 0.26")
    from skimage.io import imread

    return imread(path)[..., :3].astype(np.float32) / 255


def batches(spec: UNetSpec, steps: int, count: int = 4, size: int = 64) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random crops with a class a pixel, by brightness: images (N, 3, H, W) float32 and labels (N, H, W) int64."""
    photograph = stained_tissue()
    brightness = photograph.mean(-1)
    edges = np.quantile(brightness, np.linspace(0, 1, spec.out_channels + 1)[1:-1])
    classes = np.digitize(brightness, edges)
    random = np.random.default_rng(0)
    for _ in range(steps):
        corners = random.integers(0, np.subtract(brightness.shape, size), (count, 2))
        images = np.stack([photograph[top : top + size, left : left + size] for top, left in corners])
        labels = np.stack([classes[top : top + size, left : left + size] for top, left in corners])
        yield images.transpose(0, 3, 1, 2), labels


def write_losses(path: str | None, framework: str, losses: list[float]) -> None:
    """For plot_loss_curves.py, where that was asked for."""
    if path is not None:
        Path(path).write_text(json.dumps({"framework": framework, "losses": losses}) + "\n", encoding="utf-8")
