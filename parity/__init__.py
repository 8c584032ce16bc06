"""Are they the same? Probes, noise floor, verdict. Imports no framework."""

from .adoption import Adoption, adopt
from .batches import Batch, image_batch, random_batch
from .compare import check, compare_models
from .curves import train_curves
from .envelope import Curves
from .noise_floor import COARSE_LIMIT, LIMIT, limit_of
from .own_modules import Comparison, compare_modules
from .probes import PROBES
from .verdict import Measurement, NotCompared, Verdict

__all__ = [
    "COARSE_LIMIT",
    "LIMIT",
    "PROBES",
    "Adoption",
    "Batch",
    "Comparison",
    "Curves",
    "Measurement",
    "NotCompared",
    "Verdict",
    "adopt",
    "check",
    "compare_models",
    "compare_modules",
    "image_batch",
    "limit_of",
    "random_batch",
    "train_curves",
]
