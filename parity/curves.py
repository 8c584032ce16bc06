"""Train every backend on the same batch from the same weights for hundreds of steps, and the reference under noise."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import backends as registry
from backends.contract import BackendError, Execution, Model, ReferenceBackend, RoundingNoise
from shared_specs import Recipe, TandemError, UNetSpec, initial_weights, load_spec

from .batches import Batch, brightness_classes, random_batch
from .compare import REFERENCE, compare_models
from .envelope import Curve, Curves, How, Input, Rerun
from .noise_floor import limit_of

STEPS = 300
"""A few hundred: enough for the loss to fall, and for sound runs to part."""

RERUNS = 3
"""Of each kind: under noise of the precision, and under LIMIT times that."""

TOLD_EVERY = 100
"""Steps between two words on how far a run has come."""

Tell = Callable[[str], None]


def train_curves(
    spec: UNetSpec | str | Path,
    backends: Sequence[str] | None = None,
    execution: Execution = Execution(),
    recipe: Recipe = Recipe(),
    seed: int = 0,
    batch: Batch | None = None,
    steps: int = STEPS,
    judge: str = REFERENCE,
    narrow: int | None = None,
    on_progress: Tell = lambda text: None,
) -> Curves:
    """The loss of each backend at each step of training on one batch, beside the reference's and its re-runs'.

    Args:
        spec: the network, or its name in the zoo, or the path of its file.
        backends: names, all that are installed by default; the NumPy reference is never one of the curves.
        execution: how they run. The reference and its re-runs are in float64, with noise of this precision.
        recipe: loss and optimizer.
        seed: of weights, images and noise.
        batch: the input at every step; by default random images with `brightness_classes`.
        steps: how many.
        judge: whose float64 run is the reference. One that is not NumPy's must first agree with it in float64.
        narrow: by what the widths were divided, for the record.
        on_progress: is called with what is done next.

    Raises:
        BackendError: for a backend that is not there or cannot run the execution.
        ShapeError: for a batch that is not the spec's.
        TandemError: for no step, nothing to train, a judge that cannot judge, or a reference that diverges.
    """
    if not isinstance(spec, UNetSpec):
        spec = load_spec(spec)
    if steps < 1:
        raise TandemError(f"got {steps} steps, expected at least 1")
    names = [name for name in (registry.default() if backends is None else backends) if name != REFERENCE]
    if not names:
        raise TandemError(f"nothing to train beside {REFERENCE}; name a backend, or install torch or jax and flax")
    left_out = untrained(names, execution)
    names = [name for name in names if name not in left_out]
    for name in names:
        registry.get(name).check_execution(execution)
    batch = batch or brightness_classes(spec, random_batch(spec, seed))
    device = "cpu" if judge == REFERENCE else execution.device
    exact = Execution(device, "float64")
    backend = _judge(judge, spec, exact, recipe, batch, seed, on_progress)

    def run(name: str, model: Model) -> tuple[float, ...]:
        return train(model, batch, steps, seed, lambda done: on_progress(f"{name}: step {done} of {steps}"))

    reference = run(f"{judge}, float64", backend.build(spec, exact, recipe))
    _check_finite(spec, reference)
    curves = [
        Curve(backend=name, losses=run(name, registry.get(name).build(spec, execution, recipe))) for name in names
    ]
    reruns = []
    for number, (times, noise_seed) in enumerate(sizes := long_reruns(execution.unit_roundoff, seed), 1):
        noise = RoundingNoise(times * execution.unit_roundoff, noise_seed, long_run=True)
        losses = run(f"noisy re-run {number} of {len(sizes)}", backend.build_noisy(spec, noise, recipe, device))
        reruns.append(Rerun(seed=noise_seed, times=times, losses=losses))
    return Curves(
        spec=spec.model_dump(mode="json"),
        spec_fingerprint=spec.fingerprint,
        narrow=narrow,
        execution=How(**asdict(execution)),
        recipe=recipe,
        seed=seed,
        batch=Input(shape=batch.images.shape, origin=batch.origin),
        judge=judge,
        reference=reference,
        reruns=tuple(reruns),
        curves=tuple(curves),
        left_out=left_out,
        versions={name: registry.get(name).versions() for name in dict.fromkeys([judge, *names])},
    )


def untrained(names: Sequence[str], execution: Execution) -> dict[str, str]:
    """Of these backends, those that cannot be trained so, and what they lack.

    Raises:
        BackendError: where none can.
    """
    lacking = {name: registry.get(name).capabilities.lacks(execution, "train_step") for name in names}
    found = {name: lacks for name, lacks in lacking.items() if lacks is not None}
    if len(found) == len(lacking):
        raise BackendError("; ".join(f"{name} {lacks}" for name, lacks in found.items()))
    return {name: lacks.rpartition(";")[0] for name, lacks in found.items()}


def long_reruns(unit_roundoff: float, seed: int) -> list[tuple[float, int]]:
    """How many times the unit roundoff the noise of each re-run is, and its seed; `envelope` says why two sizes."""
    times = [1.0] * RERUNS + [limit_of(unit_roundoff)] * RERUNS
    return [(size, len(times) * seed + number) for number, size in enumerate(times)]


def train(model: Model, batch: Batch, steps: int, seed: int, on_step: Callable[[int], None]) -> tuple[float, ...]:
    """The losses of a model from the seeded initial weights on, each before its step is taken."""
    model.load_weights(initial_weights(model.spec, seed))
    step = model.program("train_step", batch.images, batch.labels)
    losses = []
    try:
        for number in range(steps):
            if number % TOLD_EVERY == 0:
                on_step(number)
            losses.append(float(model.fetch(step())["loss"]))
    finally:
        del step
        if model.execution.device != "cpu":
            gc.collect()  # a model and its program hold each other, and memory there is short
    return tuple(losses)


def _judge(
    name: str, spec: UNetSpec, exact: Execution, recipe: Recipe, batch: Batch, seed: int, tell: Tell
) -> ReferenceBackend:
    """The backend that judges, once it has shown on this batch that its float64 is NumPy's."""
    backend = registry.get(name)
    if not isinstance(backend, ReferenceBackend):
        able = [known for known in registry.available() if isinstance(registry.get(known), ReferenceBackend)]
        raise TandemError(f"{name} cannot re-run itself under rounding noise; let one of {', '.join(able)} judge")
    backend.check_execution(exact)
    if name == REFERENCE:
        return backend
    numpy, judge = (
        registry.get(REFERENCE).build(spec, Execution("cpu", "float64"), recipe),
        backend.build(spec, exact, recipe),
    )
    for model in (numpy, judge):
        model.load_weights(initial_weights(spec, seed))
    verdict = compare_models(
        numpy, judge, ("trajectory",), seed, batch, on_progress=lambda text: tell(f"proof of {name}: {text}")
    )
    if not verdict.equal:
        raise TandemError(f"{name} cannot judge: in float64 it is not {REFERENCE}; {verdict.first_difference}")
    return backend


def _check_finite(spec: UNetSpec, losses: Sequence[float]) -> None:
    wrong = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
    if wrong is not None:
        raise TandemError(
            f"{spec.name}: the float64 reference's loss is not finite at step {wrong}, so no curve can be judged; "
            "take fewer steps, images of usual size, or a smaller learning rate"
        )
