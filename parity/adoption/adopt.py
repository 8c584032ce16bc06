"""Adopt a user's own module: which spec it is, where each tensor goes, and the proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import backends as registry
from backends import own_modules
from backends import trace as tracing
from backends.contract import Execution, Model
from backends.trace import Trace, TraceError
from shared_specs import Recipe, UNetSpec, initial_weights, load_spec
from shared_specs.checkpoints import listed
from shared_specs.layout import IMAGES
from shared_specs.weights import check_weights

from ..compare import REFERENCE, compare_all
from .adoption import YOURS, Adoption
from .dropouts import match_without
from .found import Match
from .images import SPEC_NAME, again, batch_of, first_trace, images_of, proof_batch, trace_as
from .inference import infer
from .nearest import nearest_specs
from .passes import deeper_output, only_in_evaluation
from .unsaid import leading_to

PROOF = ("structure", "forward", "activations", "statistics", "gradients")
"""The probes that prove a module to be the spec."""


def adopt(
    module: Any,
    spec: UNetSpec | str | Path | None = None,
    example: np.ndarray | Sequence[int] | None = None,
    backends: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Adoption:
    """Find out which network a module is, match its tensors to the canonical ones, and prove it.

    The module is copied, and nothing of it changes. Its forward pass is run: it is the caller's own code.

    Args:
        module: any torch.nn.Module that maps images to logits.
        spec: what it is to be, or the name or path of that; it is inferred where it is None.
        example: images (N, C, H, W) that it takes, or their shape; chosen where it is None.
        backends: whose builds of the spec the module is compared with, all that are installed by default; the noise
            floor is the NumPy reference's.
        seed: of images, labels and noise.
        on_progress: is called with what is done next.

    Raises:
        TraceError: where it is no module, or fails on the images.
        SpecError, ShapeError, WeightsError: for a spec, images or weights that cannot be.
    """
    tell = on_progress or (lambda step: None)
    if spec is not None and not isinstance(spec, UNetSpec):
        spec = load_spec(spec)
    images = None if example is None else images_of(example, seed)
    tell("tracing")
    adoption = identify(module, spec, images, seed)
    if adoption.spec is None:
        return adoption
    names = [name for name in (registry.default() if backends is None else backends) if name != REFERENCE]
    return _proved(adoption, module, images, names, seed, tell)


def identify(module: Any, spec: UNetSpec | None, images: np.ndarray | None, seed: int = 0) -> Adoption:
    """Trace a module and match it with a spec, or infer one, without weights and proof. Errors are those of `adopt`."""
    if spec is None:
        traced = first_trace(module, images)
        if deeper := deeper_output(traced):
            return Adoption(traced.module, None, True, deeper, "return the logits first, or alone")
        inference = infer(traced, SPEC_NAME)
        if inference.spec is not None and images is None:
            traced, inference = again(module, traced, inference, seed)
        if inference.spec is None:
            near = nearest_specs(traced, inference.branches) if inference.branches else ()
            return Adoption(traced.module, None, True, inference.reason, inference.advice, nearest=near)
        chosen, assumed = inference.spec, inference.assumed
    else:
        traced, chosen, assumed = trace_as(module, spec, images, seed), spec, ()
    found, left_out = match_without(chosen, traced, is_inferred=spec is None)
    assumed += left_out
    if found.complete and len(traced.outputs) > 1 + len(chosen.deep_logits):
        assumed += (f"the first of the {len(traced.outputs)} tensors that it returns are the logits",)
    assumed += () if spec is None else tuple(found.unseen_throughout)
    assumed += tuple(found.unseen_dropouts) + tuple(found.unseen_roundings)
    assumed += () if images is None else tuple(found.unseen_sizes)
    assumed += frozen(module)
    return Adoption(
        traced.module,
        chosen,
        spec is None,
        match=found,
        assumed=assumed,
        weights={},
        ignored=_ignored(traced, found),
        aliases=traced.aliases,
        unused=_unused(traced, found),
    )


def frozen(module: Any) -> tuple[str, ...]:
    """That gradients and steps are compared of what is not trained, in words; nothing where all is trained."""
    names = own_modules.frozen(module)
    one = len(names) == 1
    what = "parameter, which is frozen, is" if one else "parameters, which are frozen, are"
    return (f"{len(names)} {what} compared as if trained: {listed(names, 8)}",) if names else ()


def _ignored(traced: Trace, found: Match) -> tuple[str, ...]:
    """Keys that are no tensors of the network: counters of batches, what no call read, and what other outputs need."""
    taken = set(found.keys.values())
    counters = [key for key in traced.state if key.endswith("num_batches_tracked")]
    rest = [key for key in traced.state if traced.aliases.get(key, key) not in taken and key not in counters]
    return (*(["*num_batches_tracked"] if counters else []), *rest)


def _unused(traced: Trace, found: Match) -> tuple[str, ...]:
    """Which tensors of the module have no place in the spec, in words; nothing where the match is not complete."""
    if not found.complete:
        return ()
    unread = set(traced.unused())
    first = {key for call in leading_to(traced, traced.outputs[0]) for key in call.parameters.values()}
    rest = [key for key in traced.state if key not in traced.aliases and not key.endswith("num_batches_tracked")]
    elsewhere = [key for key in rest if key not in first | set(found.keys.values()) and key not in unread]
    nowhere = [key for key in rest if key in unread]
    told = (("read for other outputs alone", elsewhere), ("not used by the traced pass", nowhere))
    return tuple(f"{len(keys)} of its tensors are {what}: {listed(keys, 8)}" for what, keys in told if keys)


def _proved(
    adoption: Adoption,
    module: Any,
    images: np.ndarray | None,
    names: Sequence[str],
    seed: int,
    tell: Callable[[str], None],
) -> Adoption:
    """With weights and a verdict, where every tensor of the spec has its place."""
    spec, found = adoption.spec, adoption.match
    assert spec is not None and found is not None
    weights = weights_of(adoption, module)
    if not weights:
        return replace(adoption, reason="" if found.differences else f"no tensor for {', '.join(found.missing)}")
    batch, refused = proof_batch(spec, module, found, seed) if images is None else (batch_of(spec, images, seed), ())
    execution, recipe = Execution(precision="float64"), Recipe()
    models: dict[str, Model] = {name: registry.get(name).build(spec, execution, recipe) for name in names}
    models[YOURS] = tracing.as_model(module, spec, found.keys, layers_of(adoption))
    shared = dict.fromkeys(models, _telling(spec, weights, seed))
    try:
        verdict = compare_all(
            models, shared, batch, execution=execution, probes=PROOF, seed=seed, steps=1, on_progress=tell
        )
    except TraceError as error:
        return replace(adoption, weights=weights, reason=f"no proof in float64: {error}")
    if not verdict.equal and not found.differences:
        found.differences += only_in_evaluation(found, module, batch.images)
    most, traced = models[YOURS].most_outputs, len(found.trace.outputs)  # pyright: ignore[reportAttributeAccessIssue]
    heads = 1 + len(spec.deep_logits)
    compared = "the logits" if heads == 1 else f"the first {heads}"
    left_out = (f"the {most} tensors that it returns in training do not matter but for {compared}",)
    assumed = adoption.assumed + refused + (left_out if most > max(traced, heads) else ())
    return replace(adoption, weights=weights, verdict=verdict, assumed=assumed)


def weights_of(adoption: Adoption, module: Any) -> dict[str, np.ndarray]:
    """The canonical weights of a module that was identified; none where not every tensor of the spec has its place.

    Raises:
        WeightsError: where some are not finite.
    """
    spec, found = adoption.spec, adoption.match
    assert spec is not None and found is not None
    state, keys = tracing.read_state(module), found.keys
    shapes = {tensor.name: tensor.shape for tensor in spec.tensors}
    if not found.complete or any(name not in keys or state[keys[name]].shape != shapes[name] for name in shapes):
        return {}
    weights = {name: state[key] for name, key in keys.items()}
    check_weights(spec, weights, origin=adoption.module)
    return weights


def layers_of(adoption: Adoption) -> dict[str, int]:
    """The number of each layer's map in the trace."""
    assert adoption.match is not None
    return {name: number for name, number in adoption.match.maps.items() if name != IMAGES}


def _telling(spec: UNetSpec, weights: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The weights, but seeded values where a tensor is constant: zeros and ones of a fresh module hide what differs."""
    seeded = initial_weights(spec, seed)
    return {name: seeded[name] if np.ptp(values) == 0 else values for name, values in weights.items()}
