"""What a backend can do, declared so that nobody has to load its framework to ask."""

from __future__ import annotations

from dataclasses import dataclass

from .execution import PHASES, Execution
from .precision import PRECISIONS


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do. What it cannot is shown as such wherever backends stand side by side.

    Attributes:
        precisions: some of PRECISIONS.
        tunings: "default", and others.
        phases: some of PHASES. A backend that lacks "forward_backward" or "train_step" has no training.
        devices: the kinds of device that it could have, whatever this machine has: "cpu", "cuda".
        replicas: whether it trains on several devices at once.
        note: why it lacks phases or replicas, in a few words, for instance "inference only".
    """

    precisions: tuple[str, ...] = PRECISIONS
    tunings: tuple[str, ...] = ("default", "tuned")
    phases: tuple[str, ...] = PHASES
    devices: tuple[str, ...] = ("cpu", "cuda")
    replicas: bool = False
    note: str = ""

    def lacks(self, execution: Execution | None = None, phase: str | None = None, replicas: int = 1) -> str | None:
        """What it cannot do of this, as in "has no precision 'float64'; take one of float32", or None."""
        wanted: list[tuple[str, str, tuple[str, ...]]] = []
        if phase is not None:
            wanted.append(("phase", phase, self.phases))
        if execution is not None:
            wanted.append(("precision", execution.precision, self.precisions))
            wanted.append(("tuning", execution.tuning, self.tunings))
        why = f" ({self.note})" if self.note else ""
        for what, value, known in wanted:
            if value not in known:
                return f"has no {what} {value!r}{why if what == 'phase' else ''}; take one of {', '.join(known)}"
        if execution is not None and execution.device_kind not in self.devices:
            return f"has no {execution.device_kind} device; it runs on {', '.join(self.devices)}"
        if execution is not None and execution.precision == "tf32" and execution.device_kind == "cpu":
            return "has no tf32 on a CPU; take float32 or bfloat16, or an NVIDIA GPU"
        if replicas > 1 and not self.replicas:
            return f"trains on one device only{why}"
        return None
