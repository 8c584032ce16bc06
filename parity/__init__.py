"""Are they the same? Probes, noise floor, verdict. Imports no framework."""

from .batches import Batch, image_batch, random_batch
from .compare import check, compare_models
from .noise_floor import LIMIT
from .probes import PROBES
from .verdict import Measurement, Verdict

__all__ = [
    "LIMIT",
    "PROBES",
    "Batch",
    "Measurement",
    "Verdict",
    "check",
    "compare_models",
    "image_batch",
    "random_batch",
]
