"""Networks whose checkpoints are written and read, and how two of them are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

NETWORKS: dict[str, dict[str, Any]] = {
    "2d": {"up__width": "half"},
    "3d": {"dimensions": 3},
    "prelu_without_norm": {
        "norm": {"kind": "none"},
        "block__order": ["conv", "activation"],
        "activation": {"kind": "prelu", "slopes": "per_channel"},
    },
    "dropout": {"dropout": {"rate": 0.1}, "block__order": ["conv", "norm", "dropout", "activation"]},
}


def bits(weights: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (values.dtype.name, values.shape, values.tobytes()) for name, values in weights.items()}
