"""Judge a mutant: by Tandem's own verdict, and by other people's rules on the same values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import backends
import parity
from backends.contract import Execution, Model
from parity import Measurement
from parity.probes import STAGES
from shared_specs import UNetSpec

from .criteria import STEPS, Values, equal_by, values_of
from .fault import Mutant, Setting

FLOAT64, FLOAT32 = Execution(precision="float64"), Execution(precision="float32")


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        name: of the mutant, or of the sound build.
        expected: probe and quantity that must be the first to differ, None for a sound build.
        found: probe and quantity that were, None where all was equal.
        distance: of that quantity, in noise floors.
        equal_by: by the name of the rule, whether it takes the model for equal.
    """

    name: str
    backend: str
    expected: tuple[str, str] | None
    found: tuple[str, str] | None
    distance: float
    equal_by: dict[str, bool]

    @property
    def caught(self) -> bool:
        return self.found is not None

    @property
    def caught_by_probe(self) -> bool:
        return self.found is not None and self.expected is not None and self.found[0] == self.expected[0]

    @property
    def located(self) -> bool:
        return self.found is not None and self.found == self.expected


def judge(mutant: Mutant, rules: bool = True) -> Outcome:
    """Build a mutant and judge it, by the other rules too unless they are not wanted."""
    expected = (mutant.fault.probe, mutant.fault.quantity)
    return _judge(mutant.name, mutant.backend, expected, mutant.setting, mutant.build(), rules)


def judge_sound(backend: str, setting: Setting, rules: bool = True) -> Outcome:
    """The same for a sound build."""
    spec, _ = setting.network_and_batch()
    model = backends.get(backend).build(spec, setting.execution, setting.recipe)
    return _judge(
        f"{backend}: sound, {setting.network}, {setting.execution.precision}", backend, None, setting, model, rules
    )


def _judge(
    name: str, backend: str, expected: tuple[str, str] | None, setting: Setting, model: Model, rules: bool
) -> Outcome:
    spec, batch = setting.network_and_batch()
    first = first_difference(reference(spec, setting), model, batch)
    equal = equal_by(reference_values(setting), values_of(model, batch)) if rules else {}
    found = None if first is None else (first.probe, first.quantity)
    return Outcome(name, backend, expected, found, first.distance if first else 0.0, equal)


def first_difference(reference: Model, candidate: Model, batch: parity.Batch) -> Measurement | None:
    """The verdict's first difference over all probes.

    Stage by stage, since most mutants differ in the first one, and are not trained for nothing then. No stage changes
    what another one sees, and the first difference of all is that of the first stage that has one.
    """
    for probes in STAGE_PROBES:
        verdict = parity.compare_models(reference, candidate, probes=probes, batch=batch, steps=STEPS)
        if verdict.first_difference:
            return verdict.first_difference
    return None


STAGE_PROBES = (("structure", "forward", "activations"), ("statistics", "gradients"), ("optimizer", "trajectory"))
assert sorted(sum(STAGE_PROBES, ())) == sorted(sum(STAGES.values(), ()))


def reference(spec: UNetSpec, setting: Setting) -> Model:
    return backends.get("numpy_reference").build(spec, FLOAT64, setting.recipe)


@cache
def reference_values(setting: Setting) -> Values:
    spec, batch = setting.network_and_batch()
    values = values_of(reference(spec, setting), batch)
    assert values is not None, f"the reference breaks down on {setting}"
    return values


def sound_settings(mutants: Iterable[Mutant]) -> list[tuple[str, Setting]]:
    """Backend and setting of a sound build beside every mutant, each once; those of PyTorch in float32 too.

    The NumPy reference is left out: beside itself it is equal by any rule.
    """
    found: dict[tuple[str, Setting], None] = {}
    for mutant in mutants:
        if mutant.backend != "numpy_reference":
            found[mutant.backend, mutant.setting] = None
        if mutant.backend == "pytorch":
            found[mutant.backend, replace(mutant.setting, execution=FLOAT32)] = None
    return list(found)
