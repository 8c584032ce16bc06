"""In which precision PyTorch computes: set explicitly, put back afterwards, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch

from ..contract import Execution

DTYPES = {"float64": torch.float64, "float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.float32}
"""Of parameters and images. With bfloat16 parameters, norm statistics and loss are float32, convolutions bfloat16."""

# Each engine has a switch of its own, and cuDNN's convolutions use TF32 unless told otherwise
# (https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices).
ENGINE_NAMES = ("cuda.matmul", "cudnn.conv", "mkldnn.matmul", "mkldnn.conv")
ENGINES: tuple[Any, ...] = attrgetter(*ENGINE_NAMES)(torch.backends)


@contextmanager
def arithmetic(execution: Execution) -> Iterator[None]:
    """Compute in the precision of the execution and in no other, and put the user's settings back after."""
    before = [engine.fp32_precision for engine in ENGINES]
    wanted = "tf32" if execution.precision == "tf32" else "ieee"
    kind = execution.device_kind
    try:
        for name, engine in zip(ENGINE_NAMES, ENGINES, strict=True):
            engine.fp32_precision = wanted if not name.startswith("mkldnn") else "ieee"
        with torch.autocast(kind, torch.bfloat16, enabled=execution.precision == "bfloat16"):
            yield
    finally:
        for engine, precision in zip(ENGINES, before, strict=True):
            engine.fp32_precision = precision


def flags(execution: Execution, dtype: torch.dtype) -> dict[str, str]:
    """The switches as they stand while a step runs."""
    with arithmetic(execution):
        read = {
            f"torch.backends.{name}.fp32_precision": str(engine.fp32_precision)
            for name, engine in zip(ENGINE_NAMES, ENGINES, strict=True)
        }
        kind = execution.device_kind
        autocast = torch.is_autocast_enabled(kind)
        return read | {
            "dtype": str(dtype),
            "autocast": str(torch.get_autocast_dtype(kind)) if autocast else "off",
        }


def effective(execution: Execution, dtype: torch.dtype) -> str:
    """The precision that these switches amount to on the device of the execution."""
    read = flags(execution, dtype)
    if read["autocast"] != "off":
        return read["autocast"].removeprefix("torch.")
    if dtype == torch.float32 and execution.device.startswith("cuda"):
        engines = {read[f"torch.backends.{name}.fp32_precision"] for name in ENGINE_NAMES[:2]}
        return "float32" if engines == {"ieee"} else "tf32" if engines == {"tf32"} else " and ".join(sorted(engines))
    return str(dtype).removeprefix("torch.")
