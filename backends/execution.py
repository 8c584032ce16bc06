"""How a model is run, never what it is."""

from __future__ import annotations

from dataclasses import dataclass

from .precision import UNIT_ROUNDOFF

PHASES = ("forward", "forward_backward", "train_step")
"""What `Model.program` runs: inference; loss and gradients; loss, gradients, optimizer and normalisation state."""


@dataclass(frozen=True)
class Execution:
    """How a model is run, never what it is.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        precision: "float64", "float32", "tf32" or "bfloat16".
        tuning: "default" is what a newcomer writes, "tuned" the best allowed; or a named diagnostic mode.
    """

    device: str = "cpu"
    precision: str = "float32"
    tuning: str = "default"

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda"."""
        return self.device.partition(":")[0]

    @property
    def unit_roundoff(self) -> float:
        return UNIT_ROUNDOFF[self.precision]
