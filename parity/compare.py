"""Run the probes on several models, measure the noise floor, and give the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

import backends as registry
from backends.contract import BackendError, Execution, Model, ReferenceBackend, RoundingNoise
from shared_specs import Recipe, TandemError, UNetSpec, initial_weights, load_spec
from shared_specs.weights import Weights

from . import noise_floor
from .batches import Batch, random_batch
from .borrowed import given_back
from .kinds import check_one_kind
from .probes import (
    DATA_PARALLEL,
    EVALUATION,
    EVERY_PROBE,
    NO_TRAINING,
    OUTPUT_STAGES,
    PROBES,
    REPLICA_STAGES,
    SHAPE_OF,
    STAGES,
    TRAINING,
    Quantities,
    Stage,
    joined_with,
    trains,
)
from .reruns import Reference, runs_at_once
from .verdict import Measurement, NotCompared, Verdict, measure

REFERENCE = "numpy_reference"


def check(
    spec: UNetSpec | str | Path,
    backends: Sequence[str] | None = None,
    execution: Execution = Execution(precision="float64"),
    probes: Sequence[str] = PROBES,
    recipe: Recipe = Recipe(),
    seed: int = 0,
    batch: Batch | None = None,
    weights: Weights | None = None,
    steps: int = 3,
    on_progress: Callable[[str], None] | None = None,
    replicas: int = 1,
) -> Verdict:
    """Build a spec in several backends, give all the same weights, and compare every pair.

    Args:
        spec: the network, or its name in the zoo, or the path of its file.
        backends: names, `backends.default()` by default. The NumPy reference always takes part, in float64.
        execution: device and precision of the others. Semantics are judged in float64, where every real difference
            is enormous; another precision is judged against its own noise floor.
        probes: which of PROBES to run; with replicas `data_parallel` too.
        recipe: loss and optimizer, and whether the batch statistics of replicas are global.
        seed: of weights, images, labels and noise.
        batch: the input, `random_batch(spec, seed)` by default.
        weights: canonical weights, `initial_weights(spec, seed)` by default.
        steps: of the trajectory.
        on_progress: is called with what is done next.
        replicas: from 2 on, the probe `data_parallel` starts so many of each backend, in processes of their own that
            train together, and compares them with what one device, or so many of the reference, compute.

    Raises:
        BackendError: for a backend that is not there or cannot run the execution, or replicas without devices.
        ShapeError, WeightsError: for a batch or weights that are not the spec's, or a batch that does not divide.
        ReplicaFailure: where a rank dies or hangs, naming it.
        TandemError: for an unknown probe, or too few backends or steps.
    """
    wanted = [probes] if isinstance(probes, str) else list(probes)
    if replicas > 1 and tuple(wanted) == PROBES:
        wanted = list(EVERY_PROBE)
    if DATA_PARALLEL in wanted and replicas < 2:
        raise TandemError(f"{DATA_PARALLEL} compares replicas, and {replicas} was asked for; take 2 or more")
    if not isinstance(spec, UNetSpec):
        spec = load_spec(spec)
    candidates = [name for name in (registry.default() if backends is None else backends) if name != REFERENCE]
    if not candidates:
        raise TandemError(f"nothing to compare with {REFERENCE}; name a backend, or install torch or jax and flax")
    lacking = {name: registry.get(name).capabilities.lacks(execution) for name in dict.fromkeys(candidates)}
    able = [name for name, lacks in lacking.items() if lacks is None]
    if not able:
        raise BackendError("; ".join(f"{name} {lacks}" for name, lacks in lacking.items()))
    shared = initial_weights(spec, seed) if weights is None else weights
    batch = batch or random_batch(spec, seed, 2 * replicas)
    how = {"execution": execution, "seed": seed, "steps": steps, "on_progress": on_progress}
    unable = {name: lacks for name, lacks in lacking.items() if lacks is not None}
    asked, of_replicas = (REFERENCE, *lacking), None
    if DATA_PARALLEL in wanted:
        from .replicas import Replicas  # which is made of this module

        wanted.remove(DATA_PARALLEL)
        together = Replicas(spec, able, execution, recipe, replicas, batch, unable)
        together.check_not_empty()
        # First, while this process holds no model: on GPUs the ranks find all the memory.
        of_replicas = together.compare(shared, **how)
        if not wanted:
            return replace(of_replicas, models=asked)
    models: dict[str, Model] = {REFERENCE: registry.get(REFERENCE).build(spec, Execution(precision="float64"), recipe)}
    for name in able:
        models[name] = registry.get(name).build(spec, execution, recipe)
    verdict = compare_all(models, dict.fromkeys(models, shared), batch, probes=wanted, unable=unable, **how)
    if of_replicas is not None:
        verdict = verdict.and_of_replicas(of_replicas)
    return replace(verdict, models=asked)


def compare_models(
    reference: Model,
    candidate: Model,
    probes: Sequence[str] = PROBES,
    seed: int = 0,
    batch: Batch | None = None,
    steps: int = 3,
    on_progress: Callable[[str], None] | None = None,
) -> Verdict:
    """Compare two models as they are: each runs with its own weights, and has them back afterwards.

    Of two groups of replicas the probe is `data_parallel`. The optimizer's state of both starts afresh. The noise floor
    is that of the reference's spec, recipe and weights in the coarser precision of the two. Arguments and errors are
    those of `check`.
    """
    before = {"reference": reference.weights(), "candidate": candidate.weights()}
    models = {"reference": reference, "candidate": candidate}
    with given_back(models, before):
        return compare_all(
            models,
            before,
            batch or random_batch(reference.spec, seed, 2 * check_one_kind(models) or 2),
            execution=max((reference.execution, candidate.execution), key=lambda execution: execution.unit_roundoff),
            probes=probes,
            seed=seed,
            steps=steps,
            on_progress=on_progress,
        )


def compare_all(
    models: Mapping[str, Model],
    weights: Mapping[str, Weights],
    batch: Batch,
    *,
    execution: Execution,
    probes: Sequence[str],
    seed: int,
    steps: int,
    on_progress: Callable[[str], None] | None,
    unable: Mapping[str, str] | None = None,
) -> Verdict:
    """Compare every pair of these models, each with its weights, or those of the first one. As `check` otherwise.

    Args:
        unable: by name, what the backends lack that could not be asked for a model.
    """
    replicas = check_one_kind(models)
    probes = [probes] if isinstance(probes, str) else probes
    if replicas and tuple(probes) == PROBES:
        probes = [DATA_PARALLEL]
    unknown = sorted(set(probes) - set(EVERY_PROBE))
    if unknown or not probes or steps < 1:
        raise TandemError(
            f"no probe is named {unknown[0]!r}; take some of {', '.join(PROBES)}"
            if unknown
            else "expected at least one probe and one step"
        )
    partial = any(not model.has_canonical_weights for model in models.values())
    stages = REPLICA_STAGES if replicas else OUTPUT_STAGES if partial else STAGES
    _check_applicable(probes, stages, replicas)
    first = next(iter(models))
    spec, recipe = models[first].spec, models[first].recipe
    for model in models.values():
        model.check_step(batch.images, batch.labels)
    build_reference = _reference_of(spec, recipe, replicas)
    unit_roundoff, limit = execution.unit_roundoff, noise_floor.limit_of(execution.unit_roundoff)
    reference = Reference(noise_floor.reruns(unit_roundoff, seed), unit_roundoff, runs_at_once(spec, batch))
    found: dict[str, list[Measurement]] = {probe: [] for probe in EVERY_PROBE}
    not_compared = [NotCompared(name, probe, lacks) for name, lacks in (unable or {}).items() for probe in probes]
    for stage, views in stages.items():
        wanted = [view for view in views if view in probes]
        able = {name: model for name, model in models.items() if stage not in TRAINING or trains(model)}
        untrained = [name for name in models if name not in able]
        not_compared += [NotCompared(name, probe, NO_TRAINING) for name in untrained for probe in wanted]
        if not wanted or len(able) < 2:
            continue

        def run(name: str, model: Model, stage: Stage, wanted: Sequence[str]) -> dict[str, Quantities]:
            if on_progress:
                on_progress(f"{', '.join(wanted)}: {name}")
            found = stage(model, weights.get(name, weights[first]), batch, steps)
            return {view: found[view] for view in wanted}  # at full width, what nobody asked for is gigabytes

        joined, also = joined_with(stage, stages, probes)

        def run_reference(
            noise: RoundingNoise | None, wanted: Sequence[str] = (*wanted, *also), stage: Stage = joined
        ) -> dict[str, Quantities]:
            if noise is None:
                who = REFERENCE if REFERENCE in models else "noise floor"
                true = run(who, models.get(REFERENCE) or build_reference(None), stage, wanted)
                _check_finite(spec, true)
                return true
            # Built anew each time: at full width, what a model keeps of its last run takes gigabytes.
            return run(
                f"noise floor, {'turned' if noise.turned else 'noisy'} re-run", build_reference(noise), stage, wanted
            )

        true, floors = reference.judge(wanted, run_reference, stage not in EVALUATION)
        values = {name: true if name == REFERENCE else run(name, model, stage, wanted) for name, model in able.items()}
        for probe in wanted:
            for pair in combinations(able, 2):
                one, other = (values[name][probe] for name in pair)
                known = all(models[name].has_canonical_weights for name in pair)
                found[probe] += _measure(probe, pair, one, other, floors[probe], limit, known)
        shapes = [m for m in found["structure"] if m.quantity.startswith(SHAPE_OF)]
        shapes += [m for m in found["forward"] if m.index is None]
        if any(not m.equal for m in shapes):
            break  # labels fit one of the models alone: the other cannot be trained on them
    return Verdict(
        spec=spec,
        execution=execution,
        recipe=recipe,
        seed=seed,
        batch_shape=batch.images.shape,
        batch_origin=batch.origin,
        steps=steps,
        models=(*models, *(unable or {})),
        measurements=tuple(measurement for probe in EVERY_PROBE for measurement in found[probe]),
        not_compared=tuple(sorted(not_compared, key=lambda left_out: EVERY_PROBE.index(left_out.probe))),
        replicas=max(replicas, 1),
    )


def _reference_of(spec: UNetSpec, recipe: Recipe, replicas: int) -> Callable[[RoundingNoise | None], Model]:
    """What builds the reference under noise, or without: several replicas of it, or one for 0."""
    reference = registry.get(REFERENCE)
    assert isinstance(reference, ReferenceBackend)

    def build(noise: RoundingNoise | None) -> Model:
        if replicas:
            return reference.build_replicas(spec, recipe, replicas, noise)
        if noise is None:
            return reference.build(spec, Execution(precision="float64"), recipe)
        return reference.build_noisy(spec, noise, recipe)

    return build


def _check_applicable(probes: Sequence[str], stages: Mapping[Stage, tuple[str, ...]], replicas: int) -> None:
    """Raises TandemError for a probe that says nothing of such models: it would be left out without a word."""
    known = [view for views in stages.values() for view in views]
    for probe in probes:
        if probe not in known:
            what, are = ("one device", "replicas") if replicas else ("replicas", "of one device")
            raise TandemError(f"{probe} compares {what}, and these models are {are}; take some of {', '.join(known)}")


def _check_finite(spec: UNetSpec, true: dict[str, Quantities]) -> None:
    """Raises TandemError where the reference itself overflows: nothing can be said of the others then."""
    for probe, quantities in true.items():
        for name, value in quantities.items():
            if not np.isfinite(value).all():
                raise TandemError(
                    f"{spec.name}: the float64 reference is not finite at {name} ({probe}), so nothing can be "
                    "compared; take images or weights of usual size, or a smaller learning rate"
                )


def _measure(
    probe: str,
    pair: tuple[str, str],
    reference: Quantities,
    candidate: Quantities,
    floors: dict[str, float],
    limit: float,
    known: bool,
) -> list[Measurement]:
    """Every quantity that either model has; what one of them lacks is infinitely far.

    Where not all tensors of both are known, every quantity that both have.
    """
    nothing = np.empty(0)
    names = reference | candidate if known else [name for name in reference if name in candidate]
    return [
        measure(
            pair, probe, name, reference.get(name, nothing), candidate.get(name, nothing), floors.get(name, 0.0), limit
        )
        for name in names
    ]
