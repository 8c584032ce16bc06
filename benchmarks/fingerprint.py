"""What a timed program says of itself before it is timed: a few numbers that only the right network gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backends.contract import Model

SAMPLES = 4096
"""How many logits are compared, of the first and the last image; which ones is fixed by their number alone."""

TENSOR_SAMPLES = 256
"""How many elements are compared of each gradient or weight. A single number, such as a norm, would not do: what
rounding does to it may cancel in the few re-runs of the reference by chance, and a sound build then lies far away."""

STEPS = 3
"""How many training steps are compared. The second is the first that momentum and the new weights enter."""

Fingerprint = dict[str, np.ndarray]
"""Quantity to its values, all of them judged as one."""


def take(model: Model, step: Callable[[], Any], phase: str, first_outputs: Any) -> Fingerprint:
    """The fingerprint of a program whose first call has just been made and gave `first_outputs`.

    A forward program gives sampled logits; forward_backward the loss and samples of every gradient; train_step
    the losses of the first steps and samples of every tensor after them, normalisation state included.
    """
    fetched = model.fetch(first_outputs)
    if not model.has_canonical_weights:
        return {name: np.asarray(np.abs(values).sum(), np.float64).reshape(1) for name, values in fetched.items()}
    if phase == "forward":
        logits = np.asarray(fetched["logits"][ends(len(fetched["logits"]))], np.float64).ravel()
        chosen = np.random.default_rng(0).integers(0, logits.size, min(SAMPLES, logits.size))
        return {"logits": logits[chosen]}
    if phase == "forward_backward":
        gradients = {name: _sample(values) for name, values in fetched.items() if name.startswith("gradient/")}
        return {"loss": _scalar(fetched["loss"])} | gradients
    losses = [fetched["loss"]] + [model.fetch(step())["loss"] for _ in range(STEPS - 1)]
    quantities = {f"loss of step {number}": _scalar(loss) for number, loss in enumerate(losses, start=1)}
    samples = {tensor.name: _sample(model.read_tensor(tensor.name)) for tensor in model.spec.tensors}
    return quantities | {after_training(name): values for name, values in samples.items()}


def after_training(name: str) -> str:
    """The quantity that samples a tensor after the steps that are compared."""
    return f"{name} after step {STEPS}"


def ends(count: int) -> list[int]:
    """The images of a batch whose logits are compared. In evaluation mode no image depends on another."""
    return [0, count - 1] if count > 1 else [0]


def _scalar(value: np.ndarray) -> np.ndarray:
    return np.asarray(value, np.float64).reshape(1)


def _sample(values: np.ndarray) -> np.ndarray:
    flat = np.asarray(values, np.float64).ravel()
    if flat.size <= TENSOR_SAMPLES:
        return flat
    return flat[np.random.default_rng(0).integers(0, flat.size, TENSOR_SAMPLES)]
