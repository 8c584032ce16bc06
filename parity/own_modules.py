"""Compare two modules as they are, a user's own ones too: the same weights, the same images, the same verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import backends as registry
from backends import own_modules
from backends import trace as tracing
from backends.contract import Execution, Model
from shared_specs import Recipe, TandemError, UNetSpec, load_spec
from shared_specs.weights import Weights

from .adoption import Adoption
from .adoption.adopt import frozen, identify, layers_of, weights_of
from .adoption.differences import told
from .adoption.images import images_of
from .batches import Batch, random_batch
from .borrowed import given_back
from .compare import REFERENCE, compare_all
from .own_weights import rounded, shared_weights, unplaced
from .own_words import notes_on
from .probes import PROBES
from .verdict import Verdict

OWN_PRECISIONS = ("float64", "float32")
"""In which modules are compared; the policies of the others are those of Tandem's own builds."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison of two modules found.

    Attributes:
        names: of the two.
        verdict: of both with each other, and of each with the NumPy reference of the spec; None where a module has not
            the layers of the spec.
        differences: where a module that was traced is not the spec, in words.
        assumed: what could not be seen, in words.
        notes: on the first difference, in words: what the modules call the place, and the cause where that is known.
    """

    names: tuple[str, str]
    verdict: Verdict | None
    differences: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the two are the same network, which is the spec's."""
        return not self.differences and self.verdict is not None and self.verdict.equal

    def __str__(self) -> str:
        lines = [f"{self.names[0]} and {self.names[1]} are {'' if self.equal else 'not '}the same network"]
        lines += self.differences
        lines += [f"assumed: {words}" for words in self.assumed]
        lines += [str(self.verdict).rstrip()] if self.verdict else []
        return "\n".join([*lines, *self.notes])


@dataclass
class _Side:
    """One of the two, as it was given and as it is run."""

    role: str
    given: Any
    name: str
    adoption: Adoption | None = None
    model: Model | None = None
    assumed: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        found = [] if self.adoption is None else told(self.adoption.differences)
        return [f"{self.name}: {words}" for words in found]


def compare_modules(
    reference: Any,
    candidate: Any,
    *,
    spec: UNetSpec | str | Path | None = None,
    probes: Sequence[str] | None = None,
    images: np.ndarray | Sequence[int] | None = None,
    labels: np.ndarray | None = None,
    weights: Weights | None = None,
    precision: str | None = None,
    seed: int = 0,
    steps: int = 3,
    on_progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare two modules, and both with the NumPy reference of their spec. Neither of them changes.

    Each may be a torch.nn.Module, of Tandem's `UNet` or any class of your own, which is then traced; a flax.nnx.Module,
    likewise; a flax.linen.Module bound to its variables, `module.bind(variables)`, likewise; or a model that a backend
    built. In Flax the tensors of a class of your own are known by their values, so that the other one has to hold the
    same weights and be none such itself. Modules are copied, run on a CPU without dropout, and run your code.

    Args:
        reference: what is right.
        candidate: what is to be the same.
        spec: what both are to be, or its name or path; inferred from a PyTorch module where it is None.
        probes: which of PROBES to run, all by default.
        images: (N, C, H, W) in every framework, or their shape; random ones that suit the spec by default.
        labels: (N, H', W'), random by default.
        weights: canonical weights that both take; by default each has its own. But where all tensors of both are known,
            what is the same constant in both, such as a fresh norm's ones, takes seeded values: constants hide faults.
        precision: "float64" (the default) or "float32"; that of the models where models are given.
        seed: of what is random.
        steps: of the trajectory.
        on_progress: is called with what is done next.

    Raises:
        TandemError: where something else was given, or nothing says which network it is.
        TraceError: where a module cannot be copied or fails on the images.
        BackendError, SpecError, ShapeError, WeightsError: for a backend, spec, images or weights that cannot be.
    """
    sides = [_Side("reference", reference, ""), _Side("candidate", candidate, "")]
    _name(sides)
    execution = _execution(sides, precision)
    values = None if images is None else images_of(images, seed)
    if labels is not None and values is None:
        raise TandemError("labels without images; give the images that they are of")
    chosen = _spec(sides, spec, values, seed)
    recipe = next((side.given.recipe for side in sides if isinstance(side.given, Model)), Recipe())
    names = (sides[0].name, sides[1].name)
    for side in sides:
        _prepare(side, chosen, execution, recipe, values, seed)
    if any(side.adoption is not None and side.model is None for side in sides):
        return Comparison(names, None, *_told(sides))
    _prepare_ports(sides, chosen, execution, recipe)
    models = {side.name: _model(side) for side in sides}
    before = {name: model.weights() for name, model in models.items()}
    shared = shared_weights(models, before, chosen, weights, seed)
    models = {REFERENCE: registry.get(REFERENCE).build(chosen, Execution(precision="float64"), recipe)} | models
    with given_back(models, before):
        verdict = compare_all(
            models,
            shared,
            _batch(chosen, values, labels, seed),
            execution=execution,
            probes=PROBES if probes is None else probes,
            seed=seed,
            steps=steps,
            on_progress=on_progress,
        )
    adoptions = {side.name: side.adoption for side in sides if side.adoption is not None}
    return Comparison(names, verdict, *_told(sides), notes_on(verdict, models, adoptions, shared[REFERENCE]))


def _name(sides: Sequence[_Side]) -> None:
    """By class and framework, or else by role."""
    for side in sides:
        owner = own_modules.owner(side.given)
        if isinstance(side.given, Model):
            side.name = side.role
        elif owner is None:
            raise TandemError(
                f"the {side.role} is a {type(side.given).__name__!r}, expected a torch.nn.Module, a flax.nnx.Module, "
                "a flax.linen.Module bound to its variables, or a model that a backend built"
            )
        else:
            side.name = f"{type(side.given).__name__} ({owner})"
    if sides[0].name == sides[1].name:
        for side in sides:
            side.name = f"{side.role} {side.name}"


def _execution(sides: Sequence[_Side], precision: str | None) -> Execution:
    """In which the modules are run, and by which models are judged; the coarser one of two models."""
    models = {side.role: side.given.execution for side in sides if isinstance(side.given, Model)}
    for role, execution in models.items():
        if precision not in (None, execution.precision):
            raise TandemError(
                f"the {role} is a model in {execution.precision}, and the comparison is in {precision}; build it with "
                f"Execution(precision={precision!r}), or compare in {execution.precision}"
            )
    coarsest = max(models.values(), key=lambda execution: execution.unit_roundoff, default=None)
    chosen = coarsest or Execution(precision=precision or "float64")
    if len(models) < len(sides) and chosen.precision not in OWN_PRECISIONS:
        raise TandemError(
            f"modules are compared in {' or '.join(OWN_PRECISIONS)}, not in {chosen.precision}; "
            "compare models that backends built"
        )
    return chosen


def _spec(sides: Sequence[_Side], spec: UNetSpec | str | Path | None, images: np.ndarray | None, seed: int) -> UNetSpec:
    """As given, or that of which a module or model was built, or inferred from a module of PyTorch."""
    if spec is not None:
        return spec if isinstance(spec, UNetSpec) else load_spec(spec)
    for side in sides:
        held = getattr(side.given, "spec", None)
        if isinstance(held, UNetSpec):
            return held
    for side in sides:
        if own_modules.owner(side.given) == tracing.FRAMEWORK:
            side.adoption = identify(side.given, None, images, seed)
            if side.adoption.spec is None:
                reasons = "; ".join(filter(None, (side.adoption.reason, side.adoption.advice)))
                near = f", for instance {' or '.join(side.adoption.nearest)}" if side.adoption.nearest else ""
                what_to_do = "" if side.adoption.advice else f"; say what it is with spec={near}"
                raise TandemError(f"{side.name}: no spec can be inferred ({reasons}){what_to_do}")
            return side.adoption.spec
    raise TandemError("nothing says which network the two are; say it with spec=, a name of the zoo or a TOML file")


def _prepare(
    side: _Side, spec: UNetSpec, execution: Execution, recipe: Recipe, images: np.ndarray | None, seed: int
) -> None:
    """Make a model of what was given. None comes of a module that is not the spec, and of a port, which waits."""
    if isinstance(side.given, Model):
        side.model = side.given
        return
    side.model = own_modules.as_model(side.given, spec, execution, recipe)
    if side.model is not None:
        side.assumed += [f"{side.name}: {words}" for words in frozen(side.given)]
    if side.model is not None or own_modules.owner(side.given) != tracing.FRAMEWORK:
        return
    if side.adoption is None:
        side.adoption = identify(side.given, spec, images, seed)
    found = side.adoption.match
    assert found is not None
    side.assumed += side.adoption.assumed
    if weights_of(side.adoption, side.given):
        layers = layers_of(side.adoption)
        side.model = tracing.as_model(side.given, spec, found.keys, layers, execution, recipe)


def _prepare_ports(sides: Sequence[_Side], spec: UNetSpec, execution: Execution, recipe: Recipe) -> None:
    """Make a model of what waits for the weights of the other one."""
    for side, other in zip(sides, reversed(sides), strict=True):
        if side.model is not None:
            continue
        if other.model is None or not other.model.has_canonical_weights:
            raise TandemError(
                f"{side.name}: its tensors have names of their own, and {other.name} does not tell which they are; "
                "compare it with a module of PyTorch, or with one that was built from a spec"
            )
        held = other.model.weights()
        side.model = own_modules.as_model(side.given, spec, execution, recipe, held)
        known = _model(side).weights()
        side.assumed += unplaced(held, known, side.name, own_modules.in_another_order(_model(side)))
        side.assumed += rounded(held, known, side.name)


def _model(side: _Side) -> Model:
    assert side.model is not None
    return side.model


def _batch(spec: UNetSpec, images: np.ndarray | None, labels: np.ndarray | None, seed: int) -> Batch:
    if images is None:
        return random_batch(spec, seed)
    if labels is not None:
        return Batch(images, np.asarray(labels), "images and labels as given")
    drawn = random_batch(spec, seed, len(images), images.shape[2:]).labels
    return Batch(images, drawn, f"images as given; random labels, seed {seed}")


def _told(sides: Sequence[_Side]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Differences and what is assumed, of both."""
    return (
        tuple(words for side in sides for words in side.differences),
        tuple(words for side in sides for words in side.assumed),
    )
