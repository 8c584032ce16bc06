"""The suite can fail: every planted fault is caught, by the probe and at the layer that were named beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.numpy_reference.unet import KINDS
from parity import PROBES

from . import coarse, onnx_graphs, report
from .catalogue import FAULTS, MUTANTS, kind_of, representative
from .criteria import RULES, equal_by, values_of
from .fault import ALL, BACKENDS, FLAX, ONNX, OWN_NETWORKS, Fault, Mutant, Setting
from .judging import FLOAT64, Outcome, judge, judge_sound, reference, reference_values
from .planting import Altered, Rewired

BY_DEFAULT = representative()


def parameters() -> list:
    """Every mutant, those that are not representative with `-m full` alone."""
    return [
        pytest.param(
            mutant,
            id=mutant.name,
            marks=[
                pytest.mark.needs_backends(mutant.backend),
                *([] if mutant in BY_DEFAULT else [pytest.mark.full]),
            ],
        )
        for mutant in MUTANTS
    ]


@pytest.mark.parametrize("mutant", parameters())
def test_fault_is_caught_and_located(mutant: Mutant) -> None:
    outcome = judge(mutant, rules=False)
    assert outcome.found == (mutant.fault.probe, mutant.fault.quantity)


@pytest.mark.needs_backends("flax_linen")
def test_a_layer_of_linen_that_computes_what_it_should_is_equal() -> None:
    """Rewired without a fault, so that it is the faults that the test above sees, and not their planting."""
    right = Fault("none", Rewired("encoder.1.block.0.norm", lambda kit, layer, right, x: right(x)), "", "")
    assert judge(Mutant(right, "flax_linen"), rules=False).found is None


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("network", OWN_NETWORKS)
def test_sound_build_is_equal_where_faults_are_planted(network: str) -> None:
    """In the networks that `tests/parity/test_variants.py` does not have."""
    assert judge_sound("pytorch", Setting(network, NOTHING.recipe, FLOAT64), rules=False).found is None


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("fault", coarse.UNSEEN, ids=lambda fault: fault.name)
def test_what_bfloat16_does_not_see(fault: Fault) -> None:
    """As docs/parity.md says; where this fails, checks have become sharper, and the fault belongs to the others."""
    assert judge(Mutant(fault, "pytorch"), rules=False).found is None


def test_names_are_distinct() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 80


@pytest.mark.parametrize("backend", ALL)
def test_every_kind_of_layer_and_every_probe_has_a_fault(backend: str) -> None:
    here = [mutant.fault for mutant in MUTANTS if mutant.backend == backend]
    assert {kind_of(fault) for fault in here} >= set(KINDS)
    assert {fault.probe for fault in here} == set(PROBES)


def test_by_default_every_fault_and_every_backend_is_there() -> None:
    faults = {mutant.fault.name for mutant in BY_DEFAULT}
    assert {fault.name for fault in FAULTS if set(fault.backends) - set(FLAX)} <= faults
    assert {mutant.backend for mutant in BY_DEFAULT} == set(BACKENDS)


@pytest.mark.needs_backends("onnxruntime")
def test_a_graph_without_a_fault_is_equal() -> None:
    """Where graphs are changed and put in place, it is the changes that are seen."""
    nothing = Fault("none", onnx_graphs.Fused(lambda graph: None), "", "", ONNX)
    assert judge(Mutant(nothing, *ONNX), rules=False).found is None


NOTHING = Fault(
    "nothing", Altered({"numpy_reference": lambda model: None}), "activations", "head", ("numpy_reference",)
)


@pytest.fixture(scope="module")
def survivor() -> Outcome:
    """What becomes of a fault that is none."""
    return judge(Mutant(NOTHING, "numpy_reference"))


def test_a_survivor_fails_the_run(survivor: Outcome) -> None:
    assert not survivor.caught
    assert report.failures([survivor], [])[0].startswith(
        "survived: numpy_reference: nothing; expected head (activations)"
    )


def outcome(survivor: Outcome, found: tuple[str, str] | None) -> Outcome:
    return replace(survivor, found=found, distance=100.0)


def test_a_false_alarm_fails_the_run(survivor: Outcome) -> None:
    located = outcome(survivor, survivor.expected)
    assert report.failures([located], []) == []
    assert report.failures([located], [survivor]) == []
    alarm = replace(outcome(survivor, ("forward", "logits")), expected=None, name="pytorch: sound")
    assert report.failures([located], [alarm]) == ["false alarm: pytorch: sound: logits (forward), 100 floors"]


def test_fewer_than_95_percent_located_fail_the_run(survivor: Outcome) -> None:
    located, elsewhere = (outcome(survivor, found) for found in (survivor.expected, ("forward", "logits")))
    assert report.failures([located] * 19 + [elsewhere], []) == []
    assert len(report.failures([located] * 18 + [elsewhere], [])) == 1
    assert len(report.elsewhere([located] * 18 + [elsewhere])) == 1
    assert report.failures([], [])


def test_tables_count_what_happened(survivor: Outcome) -> None:
    located, elsewhere = (outcome(survivor, found) for found in (survivor.expected, ("activations", "decoder.0.up")))
    quiet, alarm = (replace(each, backend="pytorch") for each in (survivor, elsewhere))
    body = report.by_backend([located, elsewhere, survivor], [quiet, alarm]).splitlines()[2:]
    assert body[:2] == [
        "| `numpy_reference` | 1 | 3 | 2 | 2 | 1 | 0 | 0 |",
        "| `pytorch` | 0 | 0 | 0 | 0 | 0 | 2 | 1 |",
    ]
    lines = report.by_rule([located, survivor], [survivor]).splitlines()[2:]
    assert lines[0].endswith("| 1 of 2 | 1 | 0 of 1 |")
    assert [line.split(" | ")[1] for line in lines[1:]] == ["0 of 2"] * len(RULES)


@pytest.fixture(scope="module")
def values() -> dict:
    return reference_values(Setting("two levels", NOTHING.recipe, FLOAT64))


@pytest.mark.parametrize("rule", RULES)
def test_rules_take_the_same_values_for_equal_and_a_breakdown_for_none(rule: str, values: dict) -> None:
    assert equal_by(values, values)[rule]
    assert not equal_by(values, None)[rule]


@pytest.mark.parametrize(
    ("probe", "quantity", "change", "missed_by"),
    [
        ("forward", "logits", lambda x: x + 1.0, {3}),
        ("trajectory", "step 3: loss", lambda x: 3 * x, {2}),
        ("trajectory", "step 3: loss", lambda x: 1.5 * x, {2, 3}),
        ("activations", "head", lambda x: x[:, ::-1], {2, 3, 4}),
        ("activations", "head", lambda x: (1 + 1e-4) * x, {0, 2, 3, 4}),
        ("activations", "head", lambda x: x[:, :1], {2, 3}),
    ],
    ids=["logits", "last loss", "last loss within a factor of two", "channels turned", "1e-4", "another shape"],
)
def test_each_rule_sees_what_it_looks_at(probe: str, quantity: str, change, missed_by: set[int], values: dict) -> None:
    altered = values | {probe: values[probe] | {quantity: np.asarray(change(values[probe][quantity]))}}
    assert [number for number, equal in enumerate(equal_by(values, altered).values()) if equal] == sorted(missed_by)


def test_a_model_that_breaks_down_has_no_values() -> None:
    setting = Setting("two levels", NOTHING.recipe, FLOAT64)
    spec, batch = setting.network_and_batch()
    model = reference(spec, setting)
    model.module.layers.pop("encoder.1.down")  # pyright: ignore[reportAttributeAccessIssue]
    assert values_of(model, batch) is None
