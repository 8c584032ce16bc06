"""What none of the backends can do is refused before any work, in one line that says what each of them lacks."""

from __future__ import annotations

from collections.abc import Sequence

import backends
from backends import Execution
from parity.probes import DATA_PARALLEL, PROBES, STAGES, TRAINING


def check_named(device: str, tuning: str, names: Sequence[str]) -> None:
    """Refuse a device or tuning that no backend has, once for all of them. Raises BackendError."""
    able = [backends.capabilities(name) for name in names]
    kinds = list(dict.fromkeys(kind for can in able for kind in can.devices))
    kind, colon, number = device.partition(":")
    if kind not in kinds or (colon and not number.isdecimal()):
        raise backends.BackendError(
            f"no device is named {device!r}; take one of {', '.join(kinds)}, or the second GPU as cuda:1"
        )
    tunings = list(dict.fromkeys(tuning for can in able for tuning in can.tunings))
    if tuning not in tunings:
        raise backends.BackendError(
            f"no tuning of {', '.join(names)} is named {tuning!r}; take one of {', '.join(tunings)}"
        )


def check_executable(names: Sequence[str], execution: Execution) -> None:
    """Refuse an execution that none of them has, or for which a device is missing. Raises BackendError."""
    lacking = {name: backends.get(name).capabilities.lacks(execution) for name in names}
    if all(lacking.values()):
        raise backends.BackendError("; ".join(f"{name} {lacks}" for name, lacks in lacking.items()))
    for name, lacks in lacking.items():
        if lacks is None:
            backends.get(name).check_execution(execution)


def check_probes(names: Sequence[str], execution: Execution, probes: Sequence[str]) -> None:
    """Refuse probes of training alone where none of the backends trains. Raises BackendError."""
    of_training = {*(probe for stage in TRAINING for probe in STAGES.get(stage, ())), DATA_PARALLEL}
    if not set(probes) <= of_training:
        return
    able = [name for name in names if backends.get(name).capabilities.lacks(execution) is None]
    lacking = {name: backends.get(name).capabilities.lacks(phase="train_step") for name in able}
    if all(lacking.values()):
        told = "; ".join(f"{name} {lacks}" for name, lacks in lacking.items())
        others = ", ".join(probe for probe in PROBES if probe not in of_training)
        raise backends.BackendError(f"{', '.join(probes)}: {told}; or take the probes {others}")
