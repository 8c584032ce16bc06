"""Faults planted in Flax Linen, a few of each subject: a wrong build in Linen is caught and located like the others.

The catalogue's tables count the three backends that share no code. Linen shares its arithmetic with Flax NNX; its own
are its modules, the collections that they keep and the mode that they are told.
"""

from __future__ import annotations

from .catalogue import FAULTS
from .fault import Mutant

PLANTED = (
    "kernel's rows and columns swapped",
    "transposed convolution that does not flip its kernel",
    "epsilon 1.0001e-5 instead of 1e-5",
    "epsilon of a group norm left at Flax's default",
    "momentum 0.1001 instead of 0.1",
    "running variance biased",
    "statistics updated twice",
    "maximum of each window instead of its mean",
    "corners not aligned",
    "merge order swapped",
    "gate of the attention forgotten",
    "one parameter frozen",
    "learning rate off by 0.1%",
)
MUTANTS = [Mutant(fault, "flax_linen") for fault in FAULTS if fault.name in PLANTED]
assert len(MUTANTS) == len(PLANTED)
