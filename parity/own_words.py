"""The first difference in the words of users' own modules: what they call the place, and what often is the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends import own_modules
from backends.contract import Model
from shared_specs import UNetSpec
from shared_specs.checkpoints import listed
from shared_specs.shapes import feature_shapes, pixels
from shared_specs.unit_tables import BatchNorm
from shared_specs.weights import Weights

from .adoption import Adoption
from .compare import REFERENCE
from .verdict import Measurement, Verdict

NEAR = 1e-3
"""How far a value may lie from what a cause makes of it, relative to what the cause changes."""


def notes_on(
    verdict: Verdict,
    models: Mapping[str, Model],
    adoptions: Mapping[str, Adoption],
    before: Weights,
) -> tuple[str, ...]:
    """What is to be said of the first difference beside its numbers, in words; nothing where all is equal.

    Args:
        verdict: of the comparison.
        models: by name.
        adoptions: what is known of traced modules, by name.
        before: the weights from which the reference started.
    """
    first = verdict.first_difference
    if first is None:
        return ()
    names = {name: own_modules.own_names(model) for name, model in models.items()}
    names |= {name: _traced_names(adoption) for name, adoption in adoptions.items()}
    said = (_place(first, verdict.spec, names), _between(first, verdict), _cause(first, verdict, before))
    return tuple(filter(None, said))


def _traced_names(adoption: Adoption) -> dict[str, str]:
    """By canonical name of a layer or tensor, the call in the module or its key."""
    assert adoption.match is not None
    events = {name: str(event) for name, event in adoption.match.events.items()}
    return events | adoption.match.keys


def _place(first: Measurement, spec: UNetSpec, names: Mapping[str, Mapping[str, str]]) -> str:
    """What the modules call the layer or tensor that differs first; "" where none has a name of its own for it."""
    place = _canonical(first.quantity, spec)
    called = [f"{own[place]} in {name}" for name, own in names.items() if place in own]
    return f"{place} is {' and '.join(called)}" if called else ""


def _canonical(quantity: str, spec: UNetSpec) -> str:
    """The layer or tensor that a quantity is of, such as `gradient of head.weight`; "" for the loss or the logits."""
    known = {layer.name for layer in spec.layers} | {tensor.name for tensor in spec.tensors}
    return next((word for word in quantity.replace("/", " ").split() if word in known), "")


def _between(first: Measurement, verdict: Verdict) -> str:
    """What lies before the first layer that differs and could not be compared, back to one that is equal."""
    pair = (first.reference, first.candidate)
    of_layers = (m for m in verdict.measurements if m.probe == "activations")
    compared = [m.quantity for m in of_layers if (m.reference, m.candidate) == pair]
    if first.probe == "forward" and compared:
        return (
            f"every layer that is known is equal, {compared[-1]} the last: look behind it, for a sigmoid for instance"
        )
    if first.probe != "activations":
        return ""
    layers = [layer.name for layer in verdict.spec.layers]
    before = layers[: layers.index(first.quantity)] if first.quantity in layers else []
    unseen: list[str] = []
    while before and before[-1] not in compared:
        unseen.insert(0, before.pop())
    if not unseen:
        return ""
    return f"it may also be {listed(unseen, 8)}, right before it, of which {first.candidate} shows no output"


def _cause(first: Measurement, verdict: Verdict, before: Weights) -> str:
    """Why a running statistic differs, where it is exactly what another convention makes of the same batch."""
    name = _canonical(first.quantity, verdict.spec)
    layer = next((layer for layer in verdict.spec.layers if name.rpartition(".")[0] == layer.name), None)
    norm: Any = None if layer is None else layer.settings
    if layer is None or not isinstance(norm, BatchNorm) or first.index is None or first.reference != REFERENCE:
        return ""
    if ".running_" not in name or first.quantity not in (name, f"step 1: {name}"):
        return ""
    old, new = float(before[name][first.index]), first.reference_value
    of_the_batch = (new - (1 - norm.momentum) * old) / norm.momentum
    if name.endswith(".running_var") and norm.running_variance == "unbiased":
        count = pixels(feature_shapes(verdict.spec, verdict.batch_shape)[layer.name])
        biased = (1 - norm.momentum) * old + norm.momentum * of_the_batch * (count - 1) / count
        if _is(first.candidate_value, biased, new):
            return (
                f"{first.candidate} keeps the biased variance of a batch, as Flax's BatchNorm does, and PyTorch the "
                "unbiased one: trained, they part a little; where that is meant, compare all but statistics, optimizer "
                "and trajectory, with probes="
            )
    if of_the_batch == old:
        return ""
    momentum = (first.candidate_value - old) / (of_the_batch - old)
    for told in (round(momentum, 3), 1 - norm.momentum):
        if 0 < told <= 1 and _is(first.candidate_value, (1 - told) * old + told * of_the_batch, new):
            return (
                f"{first.candidate} gives the new batch a weight of {told:g} instead of {norm.momentum:g}, for which "
                f"PyTorch has momentum={norm.momentum:g} and Flax momentum={1 - norm.momentum:g}"
            )
    return ""


def _is(value: float, explained: float, right: float) -> bool:
    """Whether a value is what a cause makes of it, and not what is right."""
    return bool(np.isfinite(value)) and abs(value - explained) < NEAR * abs(explained - right)
