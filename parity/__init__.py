"""Are they the same? Probes, noise floor, verdict. Imports no framework."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adoption import Adoption, adopt
    from .batches import Batch, image_batch, random_batch
    from .compare import check, compare_models
    from .noise_floor import COARSE_LIMIT, LIMIT, limit_of
    from .own_modules import Comparison, compare_modules
    from .probes import PROBES
    from .verdict import Measurement, Verdict

__all__ = [
    "COARSE_LIMIT",
    "LIMIT",
    "PROBES",
    "Adoption",
    "Batch",
    "Comparison",
    "Measurement",
    "Verdict",
    "adopt",
    "check",
    "compare_models",
    "compare_modules",
    "image_batch",
    "limit_of",
    "random_batch",
]

HOMES = {
    "adoption": ("Adoption", "adopt"),
    "batches": ("Batch", "image_batch", "random_batch"),
    "compare": ("check", "compare_models"),
    "noise_floor": ("COARSE_LIMIT", "LIMIT", "limit_of"),
    "own_modules": ("Comparison", "compare_modules"),
    "probes": ("PROBES",),
    "verdict": ("Measurement", "Verdict"),
}
"""What each module has of it. They load NumPy and pydantic, which the pytest plugin beside them must not."""


def __getattr__(name: str) -> Any:
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
