"""What backends declare that they can do, and what becomes of what they cannot."""

from __future__ import annotations

import pytest

import backends
import parity
from backends import BackendError, Capabilities, Execution
from backends.contract import PHASES
from backends.numpy_reference.model import NumPyModel, NumPyReference
from shared_specs import Recipe

FLOAT64, FLOAT32 = Execution(precision="float64"), Execution(precision="float32")

INFERENCE = Capabilities(precisions=("float64",), tunings=("default",), phases=("forward",), note="inference only")


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        ({}, None),
        ({"execution": Execution(precision="float64"), "phase": "forward"}, None),
        (
            {"execution": Execution(precision="float32")},
            "has no precision 'float32'; take one of float64",
        ),
        ({"execution": Execution(precision="float64", tuning="tuned")}, "has no tuning 'tuned'; take"),
        ({"phase": "train_step"}, "has no phase 'train_step' (inference only); take one of forward"),
        ({"replicas": 2}, "trains on one device only (inference only)"),
    ],
    ids=["nothing", "all of it", "precision", "tuning", "phase", "replicas"],
)
def test_what_is_lacking_is_said(asked: dict, lacks: str | None) -> None:
    found = INFERENCE.lacks(**asked)
    assert found == lacks or (found is not None and lacks is not None and found.startswith(lacks))


def test_a_kind_of_device_and_tf32_on_a_cpu() -> None:
    on_a_cpu = Capabilities(devices=("cpu",))
    assert on_a_cpu.lacks(Execution(device="cuda:1")) == "has no cuda device; it runs on cpu"
    assert on_a_cpu.lacks(Execution(precision="tf32")) == (
        "has no tf32 on a CPU; take float32 or bfloat16, or an NVIDIA GPU"
    )


def test_the_declaration_is_that_of_the_class(any_backend_name: str) -> None:
    assert backends.get(any_backend_name).capabilities is backends.capabilities(any_backend_name)


class InferenceModel(NumPyModel):
    phases = ("forward",)

    def loss_and_gradients(self, images, labels):
        raise BackendError("runner has inference only")

    def train_step(self, images, labels):
        raise BackendError("runner has inference only")


class Runner(NumPyReference):
    """A backend without training."""

    name = "runner"
    capabilities = INFERENCE

    def build(self, spec, execution=FLOAT64, recipe=Recipe()):
        return InferenceModel(spec, execution, recipe)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> None:
    get = backends.get
    monkeypatch.setattr(backends, "get", lambda name: Runner() if name == "runner" else get(name))


def test_a_backend_without_training_is_compared_in_what_it_can(runner: None, variant) -> None:
    verdict = parity.check(variant(), ["runner"])
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == ["structure", "forward", "activations"]
    left_out = [(each.model, each.probe) for each in verdict.not_compared]
    assert left_out == [("runner", probe) for probe in ("statistics", "gradients", "optimizer", "trajectory")]
    assert "not compared: it has inference only" in str(verdict)


def test_others_are_compared_where_one_cannot(runner: None, variant) -> None:
    verdict = parity.check(variant(), ["runner", "pytorch"], probes=["statistics"])
    assert verdict.pairs == [("numpy_reference", "pytorch")]
    assert [str(each) for each in verdict.not_compared] == ["statistics: runner has inference only"]


def test_a_backend_without_the_precision_takes_no_part(runner: None, variant) -> None:
    verdict = parity.check(variant(), ["runner", "pytorch"], Execution(precision="float32"), probes=["forward"])
    assert verdict.pairs == [("numpy_reference", "pytorch")]
    assert verdict.models == ("numpy_reference", "runner", "pytorch")
    assert [each.reason for each in verdict.not_compared] == [INFERENCE.lacks(Execution(precision="float32"))]


def test_where_none_can_it_is_bad_input(runner: None, variant) -> None:
    with pytest.raises(BackendError, match=r"^runner has no precision 'float32'; take one of float64$"):
        parity.check(variant(), ["runner"], Execution(precision="float32"))


def test_probes_that_none_of_them_has_leave_nothing_to_compare(runner: None, variant) -> None:
    verdict = parity.check(variant(), ["runner"], probes=["gradients"])
    assert not verdict.equal
    assert verdict.not_compared


def test_every_phase_is_known() -> None:
    assert Capabilities().phases == PHASES
