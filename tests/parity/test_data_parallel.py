"""Replicas that train together are one device on the whole batch, or k batches with averaged gradients; faults show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import backends
import parity
from backends import BackendError, Execution
from backends.replicas import ReplicaFailure, ReplicaGroup
from parity.probes import DATA_PARALLEL, EVERY_PROBE, PROBES
from shared_specs import Recipe, TandemError, initial_weights
from tests.conftest import small_variant
from tests.meta.faults.replicas import (
    FAULTS,
    FLOAT64,
    GLOBAL,
    OWN,
    SOUND,
    Judged,
    ReplicaFault,
    compared,
    first_difference,
    groups,
    reference,
)

KINDS = {"global": GLOBAL, "per_replica": OWN}
TINY = {"widths": [2, 4]}


# ----------------------------------------------------------------------------------------- the definition, in NumPy


def test_per_replica_is_the_mean_of_independent_batches() -> None:
    """Said again without the code under test: each part through a network of its own."""
    spec = small_variant(**TINY)
    batch = parity.random_batch(spec, count=6)
    together, weights = reference(spec, OWN, 3), initial_weights(spec, 1)
    alone = [backends.get("numpy_reference").build(spec, FLOAT64) for _ in range(3)]
    for model in (together, *alone):
        model.load_weights(weights)
    result = together.loss_and_gradients(batch.images, batch.labels)
    parts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    own = [model.loss_and_gradients(batch.images[p], batch.labels[p]) for model, p in zip(alone, parts, strict=True)]
    assert result.loss == pytest.approx(np.mean([each.loss for each in own]), rel=1e-14)
    for name, gradient in result.gradients.items():
        np.testing.assert_allclose(gradient, np.mean([each.gradients[name] for each in own], axis=0), atol=1e-16)
    for found, model in zip(together.statistics(), alone, strict=True):
        for name, values in found.items():
            np.testing.assert_array_equal(values, model.read_tensor(name))
    np.testing.assert_array_equal(result.logits, np.concatenate([each.logits for each in own]))


@pytest.mark.parametrize("kind", KINDS)
def test_without_batch_norm_both_kinds_are_one_device(kind: str) -> None:
    spec = small_variant(**TINY, norm={"kind": "instance", "epsilon": 1e-5, "affine": True})
    one = backends.get("numpy_reference").build(spec, FLOAT64)
    verdict = compared(one, reference(spec, KINDS[kind]), spec)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(PROBES)


def test_global_statistics_are_one_device() -> None:
    spec = small_variant(**TINY)
    one = backends.get("numpy_reference").build(spec, FLOAT64)
    assert compared(one, reference(spec, GLOBAL), spec).equal


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (reference, OWN, "reference has global batch statistics, and candidate the batch statistics of each of 2 rep"),
        (None, OWN, "reference has global batch statistics, and candidate the batch statistics of each of 2 replicas"),
    ],
    ids=["two groups", "one device and a group"],
)
def test_two_different_models_are_not_compared(one: Callable | None, other: Recipe, message: str) -> None:
    spec = small_variant(**TINY)
    first = one(spec, GLOBAL) if one else backends.get("numpy_reference").build(spec, FLOAT64)
    with pytest.raises(TandemError, match=f"^variant: {message}.*two different models; build both with one"):
        compared(first, reference(spec, other), spec)


@pytest.mark.parametrize("kind", KINDS)
def test_every_quantity_is_measured(kind: str) -> None:
    spec = small_variant(**TINY)
    verdict = compared(reference(spec, KINDS[kind]), reference(spec, KINDS[kind]), spec, steps=2)
    assert (verdict.probes, verdict.replicas) == ([DATA_PARALLEL], 2)
    trained = {tensor.name for tensor in spec.tensors if tensor.trainable}
    kept = {tensor.name for tensor in spec.tensors} - trained
    of_ranks = kept if kind == "global" else {f"rank {rank}: {name}" for rank in (0, 1) for name in kept}
    unlike = {"gradients", "weights", "optimizer state"} | ({"statistics"} if kind == "global" else set())
    names = {f"gradient of {name}" for name in trained | {"the images"}} | {"loss", "logits"} | trained | of_ranks
    names |= {f"momentum/{name}" for name in trained} | {f"{what} unlike rank 0's" for what in unlike}
    assert {m.quantity for m in verdict.measurements} == {f"step {step}: {name}" for step in (1, 2) for name in names}


# ------------------------------------------------------------------------------------------------------ the engines

ENGINES = [
    pytest.param(name, marks=[pytest.mark.needs_backends(name), *marks], id=name)
    for name, marks in (("pytorch", []), ("flax_nnx", []), ("flax_linen", [pytest.mark.full]))
]


@pytest.fixture(scope="module")
def group() -> Iterator[Callable[[str], ReplicaGroup]]:
    """Two processes of a backend, started where the first test needs them."""
    with groups() as of:
        yield of


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ENGINES)
def test_replicas_of_an_engine_are_the_definition(group: Callable, name: str, kind: str) -> None:
    spec, recipe = small_variant(**TINY), KINDS[kind]
    if lacks := backends.get(name).lacks_replicas(spec, FLOAT64, recipe):
        assert lacks == "has no global batch statistics on a CPU: SyncBatchNorm refuses to run there"
        spec = small_variant(**TINY, norm={"kind": "group", "groups": 2, "epsilon": 1e-5})  # which has none
    verdict = compared(reference(spec, recipe), group(name).build(spec, FLOAT64, recipe), spec)
    assert verdict.equal, str(verdict.first_difference)
    assert len(verdict.measurements) > 100
    assert max(m.distance for m in verdict.measurements) > 0  # rounded on their own: nobody copied the reference


@pytest.mark.needs_backends("pytorch")
def test_replicas_in_float32_stay_within_its_noise(group: Callable) -> None:
    spec = small_variant(**TINY)
    verdict = compared(reference(spec, OWN), group("pytorch").build(spec, Execution(), OWN), spec)
    assert verdict.execution.precision == "float32"
    assert verdict.equal, str(verdict.first_difference)


@pytest.mark.needs_backends("flax_nnx")
def test_replicas_with_global_statistics_are_one_device_in_every_probe(group: Callable) -> None:
    spec = small_variant(**TINY)
    one = backends.get("numpy_reference").build(spec, FLOAT64)
    verdict = compared(one, group("flax_nnx").build(spec, FLOAT64, GLOBAL), spec)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(PROBES)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=pytest.mark.needs_backends(fault.backend), id=fault.id) for fault in FAULTS],
)
def test_a_fault_of_replicas_is_caught_and_named(group: Callable, fault: ReplicaFault) -> None:
    found = first_difference(fault, group)
    assert found is not None, "it was not caught"
    assert (found.probe, found.quantity) == (DATA_PARALLEL, fault.quantity)
    if "unlike" in fault.quantity:
        assert found.index == (1,) and found.candidate_value > 0, "the rank was not named"


def test_a_fault_of_replicas_that_is_missed_fails_the_run() -> None:
    """Of `make faults`."""
    one, other = FAULTS[:2]
    found = first_difference(one, lambda name: pytest.fail(f"{one} is not planted in {name}"))
    assert Judged([(one, found)], [("pytorch", None)]).failures == []
    wrong = Judged([(one, None), (other, found)], [("pytorch", found)])
    assert wrong.failures == [
        "replicas: numpy_reference: gradients summed: found nothing, expected step 1: gradient of head.bias",
        "replicas: numpy_reference: loss of rank 0 for all: found step 1: gradient of head.bias (data_parallel), "
        "expected step 1: loss",
        "replicas: false alarm: pytorch: step 1: gradient of head.bias",
    ]
    assert wrong.table.endswith("2 faults: 1 caught. 1 sound groups: 1 false alarms.")


def test_the_page_has_every_fault_where_it_was_named() -> None:
    """As `make faults` has written it."""
    lines = (Path(__file__).parents[2] / "docs" / "data_parallel.md").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if line.startswith("| ") and line.split(" | ")[-1].strip(" |")[-1:].isdigit()]
    told += [line for line in lines if line.endswith("infinitely many |")]
    expected = {f"| {fault.name} | `{fault.backend}` | {fault.batch_statistics} | {fault.quantity}" for fault in FAULTS}
    assert {line.rpartition(" | ")[0] for line in told} == expected
    assert f"{len(FAULTS)} faults: {len(FAULTS)} caught. {len(SOUND)} sound groups: 0 false alarms." in lines


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize(
    ("running_variance", "kind"), [("unbiased", "SyncBatchNorm"), ("biased", "BiasedSyncBatchNorm")]
)
def test_every_batch_norm_is_synchronized_and_keeps_its_tensors(running_variance: str, kind: str) -> None:
    """As far as it goes without a GPU: what is not synchronised, in evaluation mode, computes as before."""
    import torch

    from backends.pytorch import UNet
    from backends.pytorch.data_parallel import synchronized

    spec = small_variant(**TINY, norm__running_variance=running_variance)
    module = UNet(spec).eval()
    images, before = torch.rand(2, spec.in_channels, 8, 8), dict(module.state_dict())
    logits = module(images)
    norms = [layer.name for layer in spec.layers if layer.kind == "batch_norm"]
    found = synchronized(module)
    assert [type(found.get_submodule(name)).__name__ for name in norms] == [kind] * len(norms)
    assert all(torch.equal(values, before[name]) for name, values in found.state_dict().items())
    assert torch.equal(found(images), logits)


@pytest.mark.full
@pytest.mark.needs_backends("pytorch")
def test_pytorch_still_refuses_to_synchronize_on_a_cpu() -> None:
    """Where it no longer does, PyTorch can take part."""
    spec = small_variant(**TINY)
    batch = parity.random_batch(spec, count=1)
    arguments = {"images": batch.images, "labels": batch.labels}
    with ReplicaGroup("pytorch", 2, server="tests.parity.faulty_ranks:Faulty") as started:
        started.build(spec, FLOAT64, OWN)
        with pytest.raises(ReplicaFailure, match="SyncBatchNorm layers only work with GPU modules"):
            started.ask("synchronized_on_a_cpu", **arguments)


def test_the_probe_needs_replicas() -> None:
    assert (*PROBES, DATA_PARALLEL) == EVERY_PROBE
    with pytest.raises(TandemError, match=r"^data_parallel compares replicas, and 1 was asked for; take 2 or more$"):
        parity.check("unet_bn_same", probes=[DATA_PARALLEL])


@pytest.mark.needs_backends("pytorch")
def test_where_no_backend_trains_replicas_so_other_probes_do_not_make_it_equal() -> None:
    """SyncBatchNorm refuses a CPU."""
    with pytest.raises(BackendError, match=r"^pytorch has no global batch statistics on a CPU"):
        parity.check(small_variant(), ["pytorch"], probes=["structure", "data_parallel"], replicas=2)
