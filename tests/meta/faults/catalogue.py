"""All planted faults, by subject."""

from __future__ import annotations

from . import (
    activations,
    coarse,
    convolutions,
    gradients,
    losses,
    merging,
    norms,
    onnx_graphs,
    optimizers,
    precision,
    resampling,
    weights,
)
from .fault import FLAX, Fault, Mutant

SUBJECTS: dict[str, list[Fault]] = {
    "convolutions": convolutions.FAULTS,
    "norms": norms.FAULTS,
    "activations, dropout": activations.FAULTS,
    "pooling, upsampling": resampling.FAULTS,
    "skips, merges, gates": merging.FAULTS,
    "gradients, losses": gradients.FAULTS + losses.FAULTS,
    "optimizers": optimizers.FAULTS,
    "weights": weights.FAULTS,
    "precision, races": precision.FAULTS,
    "bfloat16": coarse.FAULTS,
    "exported graphs": onnx_graphs.FAULTS,
}
FAULTS: list[Fault] = [fault for faults in SUBJECTS.values() for fault in faults]
MUTANTS: list[Mutant] = [mutant for fault in FAULTS for mutant in fault.mutants]


def subject_of(fault: Fault) -> str:
    return next(subject for subject, faults in SUBJECTS.items() if fault in faults)


def place_of(fault: Fault) -> str:
    """The layer or tensor that is named, without the words around it: `encoder.0.block.0.conv.weight`."""
    for words in ("shape of ", "gradient of "):
        if fault.quantity.startswith(words):
            return fault.quantity.removeprefix(words)
    return fault.quantity.rpartition(": ")[2].rpartition("/")[2]


def kind_of(fault: Fault) -> str:
    """The kind of the layer that is named, or what is named where that is no layer: `loss`."""
    spec, _ = fault.mutants[0].setting.network_and_batch()
    place = place_of(fault)
    kinds = {layer.name: layer.kind for layer in spec.layers}
    return kinds.get(place) or kinds.get(place.rpartition(".")[0]) or place


def representative() -> list[Mutant]:
    """Each fault once, where that is quick; in NNX one for each subject and probe, in Linen one for each subject."""
    chosen: list[Mutant] = []
    seen: set[tuple[str, ...]] = set()
    for mutant in MUTANTS:
        fault = mutant.fault
        if mutant.backend not in FLAX:
            quick = [backend for backend in fault.backends if backend not in FLAX]
            # By turns, so that both have their share.
            if mutant.backend == quick[FAULTS.index(fault) % len(quick)]:
                chosen.append(mutant)
            continue
        covers = (mutant.backend, subject_of(fault), *([fault.probe] if mutant.backend == "flax_nnx" else []))
        if covers not in seen:
            seen.add(covers)
            chosen.append(mutant)
    return chosen
