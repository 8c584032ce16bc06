"""Faults of meaning in bfloat16, where the limit is 8 floors and each floor is percents: what is seen, and what not.

The same faults as in float64, planted again.
"""

from __future__ import annotations

from dataclasses import replace

from . import activations, convolutions, gradients, losses, merging, norms, resampling, weights
from .fault import NUMPY, Fault

SUBJECTS = (activations, convolutions, gradients, losses, merging, norms, resampling, weights)
IN_FLOAT64 = {fault.name: fault for subject in SUBJECTS for fault in subject.FAULTS}


def in_bfloat16(name: str, **changes: str) -> Fault:
    fault = IN_FLOAT64[name]
    backends = tuple(name for name in fault.backends if name not in NUMPY)  # which has float64 alone
    return replace(fault, name=f"{name}, in bfloat16", backends=backends, precision="bfloat16", **changes)


FAULTS = [
    in_bfloat16("kernel flipped"),
    in_bfloat16("merge order swapped"),
    in_bfloat16("activation forgotten"),
    in_bfloat16("mean of each window instead of its maximum"),
    in_bfloat16("scale dropped"),
    in_bfloat16("momentum 0.9 instead of 0.1"),
    in_bfloat16("running mean not updated"),
    in_bfloat16("loss summed instead of averaged"),
    in_bfloat16(
        "labels turned upside down",
        quantity="gradient of head.weight",
        because="with random labels the loss is as large either way, to within the noise of bfloat16",
    ),
    in_bfloat16("weights of two equal layers swapped"),
    in_bfloat16("kernel flipped when it is loaded"),
]

UNSEEN = [in_bfloat16("gradients detached at a skip"), in_bfloat16("gradient of one kernel halved")]
"""Behind batch norms of a small map, rounding in bfloat16 alone moves gradients by as much. Float64 is for these."""
