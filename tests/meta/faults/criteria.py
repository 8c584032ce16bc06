"""Other people's rules for "the same network", judged on the values that Tandem's probes see.

Each rule says of a reference's and a candidate's values whether it takes them for equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from backends.contract import Model
from parity import Batch
from parity.probes import STAGES, TRAINING, Quantities, trains

Values = dict[str, Quantities]
"""By probe, the quantities of a model."""

STEPS = 3


def values_of(model: Model, batch: Batch) -> Values | None:
    """What all probes that it takes part in see of a model with the weights that it has.

    None where it breaks down, which no rule misses.
    """
    weights, found = model.weights(), {}
    for stage in [stage for stage in STAGES if stage not in TRAINING or trains(model)]:
        try:
            found |= stage(model, weights, batch, STEPS)
        except (
            AssertionError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ):  # as the framework words it
            return None
    return {probe: found[probe] for probe in found}


def pairs(reference: Values, candidate: Values) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for probe in candidate:
        for name, value in reference[probe].items():
            yield value, candidate[probe].get(name, np.empty(0))


def close(one: np.ndarray, other: np.ndarray, rtol: float, atol: float) -> bool:
    return one.shape == other.shape and bool(np.allclose(other, one, rtol=rtol, atol=atol))


def allclose(rtol: float, atol: float) -> Callable[[Values, Values], bool]:
    """Every quantity of every probe."""
    return lambda reference, candidate: all(close(*pair, rtol, atol) for pair in pairs(reference, candidate))


def logits(reference: Values, candidate: Values) -> bool:
    """The logits in evaluation mode alone."""
    return close(reference["forward"]["logits"], candidate["forward"]["logits"], 1e-3, 1e-5)


def last_loss(reference: Values, candidate: Values) -> bool:
    """The loss of the last step alone, to within a factor of two. Of a model without training it sees nothing."""
    if "trajectory" not in candidate:
        return True
    name = f"step {STEPS}: loss"
    return close(reference["trajectory"][name], candidate["trajectory"][name], 1.0, 1e-8)


def means(reference: Values, candidate: Values) -> bool:
    """The mean of each quantity; the differences of the means are summed up."""
    if any(one.shape != other.shape for one, other in pairs(reference, candidate)):
        return False
    return bool(sum(abs(np.mean(one) - np.mean(other)) for one, other in pairs(reference, candidate)) < 1e-3)


RULES: dict[str, Callable[[Values, Values], bool]] = {
    "`allclose`, rtol 1e-3, atol 1e-5, every quantity": allclose(1e-3, 1e-5),
    "`allclose`, rtol 1e-5, atol 1e-8, every quantity": allclose(1e-5, 1e-8),
    "logits alone, rtol 1e-3, atol 1e-5": logits,
    "loss of the last step alone, rtol 1": last_loss,
    "differences of means, their sum below 1e-3": means,
}


def equal_by(reference: Values, candidate: Values | None) -> dict[str, bool]:
    """By rule, whether it takes the candidate for equal."""
    with np.errstate(all="ignore"):
        return {name: candidate is not None and rule(reference, candidate) for name, rule in RULES.items()}
