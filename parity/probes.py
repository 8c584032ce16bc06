"""What is compared: each probe is a view of what a model computes, as quantities by name, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.contract import PHASES, Model, StepResult
from backends.replicas.model import ReplicatedModel
from shared_specs.weights import Weights

from .batches import Batch

Quantities = dict[str, np.ndarray]
Stage = Callable[[Model, Weights, Batch, int], dict[str, Quantities]]

PROBES = ("structure", "forward", "activations", "statistics", "gradients", "optimizer", "trajectory")
"""In this order a fault is nearest to its cause in the first probe that sees it."""

DATA_PARALLEL = "data_parallel"

EVERY_PROBE = (*PROBES, DATA_PARALLEL)
"""The last one runs where several replicas are asked for, and looks at nothing else."""

SHAPE_OF = "shape of "
"""How quantities are called that are the shape of a layer's output."""


def record(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """Structure and activations: tensors, counts, shapes, and every layer's output in evaluation mode."""
    model.load_weights(weights)
    activations = model.activations(batch.images)
    structure: Quantities = {"parameter count": np.asarray(model.parameter_count())}
    structure |= {f"{SHAPE_OF}{name}": np.asarray(output.shape) for name, output in activations.items()}
    structure |= model.weights()
    return {"structure": structure, "activations": activations}


def evaluate(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """The logits in evaluation mode."""
    model.load_weights(weights)
    return {"forward": {"logits": model.forward(batch.images)}}


def differentiate(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """Statistics and gradients of one pass in training mode.

    The statistics come with the parameters, which must not have moved. Gradients are in the order in which they
    are computed, the last layer first, so that the first one that differs is nearest to the fault.
    """
    model.load_weights(weights)
    result = model.loss_and_gradients(batch.images, batch.labels)
    return _statistics_and_gradients(result, model.weights())


def _statistics_and_gradients(result: StepResult, weights: Quantities) -> dict[str, Quantities]:
    """The quantities of these two probes, after one pass."""
    outputs = {"logits": result.logits, "loss": np.asarray(result.loss)}
    return {"statistics": weights, "gradients": outputs | _gradients_of(result)}


def _gradients_of(result: StepResult) -> Quantities:
    """In the order in which they are computed."""
    gradients = {f"gradient of {name}": result.gradients[name] for name in reversed(result.gradients)}
    return gradients | {"gradient of the images": result.image_gradient}


def train(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """Loss, weights, normalisation and optimizer state at each of several steps; the first is the optimizer's."""
    model.load_weights(weights)
    return _optimizer_and_trajectory(model, batch, steps)[1]


def _optimizer_and_trajectory(model: Model, batch: Batch, steps: int) -> tuple[StepResult, dict[str, Quantities]]:
    """The result of the first step, and the quantities of these two probes, after all steps."""
    first: StepResult | None = None
    optimizer: Quantities = {}
    trajectory: Quantities = {}
    for step in range(1, steps + 1):
        result = model.train_step(batch.images, batch.labels)
        after = model.weights() | model.optimizer_state()
        first, optimizer = first or result, optimizer or after
        values = {"loss": np.asarray(result.loss)} | after
        trajectory |= {f"step {step}: {name}": value for name, value in values.items()}
    assert first is not None
    return first, {"optimizer": optimizer, "trajectory": trajectory}


def differentiate_and_train(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """As `differentiate` and `train` in one run, since the first step begins with such a pass.

    For the reference and its re-runs: of a backend, the two are two programs, and both are looked at.
    """
    model.load_weights(weights)
    parameters = {tensor.name: model.read_tensor(tensor.name) for tensor in model.spec.tensors if tensor.trainable}
    first, trained = _optimizer_and_trajectory(model, batch, steps)
    passed = {name: value for name, value in trained["optimizer"].items() if name in weights} | parameters
    weights = {tensor.name: passed[tensor.name] for tensor in model.spec.tensors}
    return _statistics_and_gradients(first, weights) | trained


def train_replicas_together(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """Of replicas that train together: loss, gradients, weights, optimizer and normalisation state at each step.

    What all ranks have in common is shown of the first one, after how many tensors of each rank are others: none.
    """
    assert isinstance(model, ReplicatedModel)
    model.load_weights(weights)
    found: Quantities = {}
    for step in range(1, steps + 1):
        result = model.train_step(batch.images, batch.labels)
        unlike = {f"{what} unlike rank 0's": counts for what, counts in model.disagreements().items()}
        after = unlike | {"loss": np.asarray(result.loss), "logits": result.logits} | _gradients_of(result)
        if model.statistics_are_global:
            after |= model.statistics()[0]
        else:
            of_ranks = enumerate(model.statistics())
            after |= {f"rank {rank}: {name}": values for rank, own in of_ranks for name, values in own.items()}
        trained = {tensor.name for tensor in model.spec.tensors if tensor.trainable}
        after |= {name: values for name, values in model.weights().items() if name in trained}
        after |= model.optimizer_state()
        found |= {f"step {step}: {name}": value for name, value in after.items()}
    return {DATA_PARALLEL: found}


def differentiate_and_evaluate(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """As `differentiate`, and how the logits moved with the statistics, whatever those are called."""
    found = differentiate(model, weights, batch, steps)
    found["statistics"]["logits after a pass in training mode"] = model.forward(batch.images)
    return found


def train_and_evaluate(model: Model, weights: Weights, batch: Batch, steps: int) -> dict[str, Quantities]:
    """As `train`, and how the logits moved with all that is trained, whatever it is called."""
    found = train(model, weights, batch, steps)
    found["trajectory"][f"logits after step {steps}"] = model.forward(batch.images)
    return found


STAGES: dict[Stage, tuple[str, ...]] = {
    record: ("structure", "activations"),
    evaluate: ("forward",),
    differentiate: ("statistics", "gradients"),
    train: ("optimizer", "trajectory"),
}
"""One run of a model serves several probes. Every stage starts from the given weights and a fresh optimizer."""

OUTPUT_STAGES: dict[Stage, tuple[str, ...]] = {
    record: ("structure", "activations"),
    evaluate: ("forward",),
    differentiate_and_evaluate: ("statistics", "gradients"),
    train_and_evaluate: ("optimizer", "trajectory"),
}
"""The same where some tensors of a model are not known by name: what they do shows in the outputs."""

REPLICA_STAGES: dict[Stage, tuple[str, ...]] = {train_replicas_together: (DATA_PARALLEL,)}
"""That of replicas that train together."""

JOINED: dict[Stage, Stage] = {differentiate: differentiate_and_train}
"""In STAGES, what the reference runs at this stage where the next one is wanted, too."""

EVALUATION: tuple[Stage, ...] = (record, evaluate)
"""Those without gradients."""

TRAINING: tuple[Stage, ...] = (differentiate, differentiate_and_evaluate, train, train_and_evaluate)
"""Those that a model without training takes no part in."""

NO_TRAINING = "has inference only"
"""Why it does not."""


def trains(model: Model) -> bool:
    """Whether a model has every phase."""
    return set(PHASES) <= set(model.phases)


def joined_with(
    stage: Stage, stages: Mapping[Stage, tuple[str, ...]], probes: Sequence[str]
) -> tuple[Stage, list[str]]:
    """What the reference runs at a stage, and which probes of later stages that serves as well."""
    joined = JOINED.get(stage) if stages is STAGES else None
    also = [probe for probe in STAGES[train] if probe in probes]
    return (joined, also) if joined is not None and also else (stage, [])
