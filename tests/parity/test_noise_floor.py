"""The floor is what rounding does: it follows the precision, and what exceeds it is seen."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import backends
from backends.contract import UNIT_ROUNDOFF, Execution, RoundingNoise
from backends.numpy_reference.rounding import Pool
from parity import LIMIT, random_batch
from parity.noise_floor import (
    COARSE_LIMIT,
    COARSE_RERUNS,
    RERUNS,
    TURNED,
    distance,
    floor,
    limit_of,
    reruns,
    rms,
)
from parity.probes import Quantities, Stage, differentiate, differentiate_and_train, train
from parity.reruns import runs_at_once
from shared_specs import initial_weights, load_spec

FLOAT64 = Execution(precision="float64")

FINITE = arrays.arrays(np.float64, arrays.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e100, 1e100))


@given(FINITE)
def test_rms_is_the_definition(x):
    scale = np.abs(x).max() or 1.0
    assert rms(x) == pytest.approx(scale * np.sqrt(np.mean((x / scale) ** 2)), rel=1e-12)


@pytest.mark.parametrize("value", [1e-300, 1e300])
def test_rms_neither_underflows_nor_overflows(value):
    assert rms(np.full(7, value)) == pytest.approx(value)


def test_floor_and_distance_are_the_formulas():
    r = np.array([3.0, -4.0])
    reruns = [np.array([3.1, -4.0]), np.array([3.0, -4.3])]
    expected = np.sqrt((0.1**2 / 2 + 0.3**2 / 2) / 2 + 1e-4**2 * 12.5)
    assert floor(r, reruns, [], 1e-4) == pytest.approx(expected, rel=1e-12)
    turned = [np.array([3.0, -12.0]), np.array([3.0, 28.0])]
    assert floor(r, reruns, turned, 1e-4) == pytest.approx(
        np.hypot(expected, 32 / np.sqrt(2) * TURNED / LIMIT), rel=1e-12
    )
    assert distance(np.array([3.0, -3.0]), r, 0.5) == pytest.approx(np.sqrt(0.5) / 0.5)


@given(FINITE, st.floats(1e-20, 1e-2))
def test_what_equals_the_reference_is_at_no_distance(x, unit_roundoff):
    assert distance(x.copy(), x, floor(x, [x, x], [], unit_roundoff)) == 0


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan])),
        (np.array([np.inf]), np.array([np.inf])),
        (np.array([1.0, 1.0]), np.array([1.0])),
        (np.array([[1.0]]), np.array([1.0])),
        (np.array([1]), np.array([2])),
        (np.array([1e-300]), np.array([0.0])),
    ],
    ids=["nan", "inf", "length", "dimensions", "integers", "zero floor"],
)
def test_what_never_passes(candidate, reference):
    assert distance(candidate, reference, floor(np.zeros(1), [np.zeros(1)], [], 1e-3)) > LIMIT


def test_a_floor_that_overflowed_hides_nothing():
    huge = np.array([1e200, -1e300])
    assert np.isfinite(floor(huge, [huge * 1.001], [], 1e-3))
    noise = floor(np.ones(2), [np.array([np.inf, 1.0])], [], 1e-3)
    assert distance(np.array([5.0, 1.0]), np.ones(2), noise) == np.inf


def test_integers_are_compared_exactly_however_coarse_the_precision():
    count = np.asarray(31_044_106)
    assert distance(count + 1, count, floor(count, [count], [], 2.0**-9)) == np.inf
    assert distance(count, count, 0.0) == 0


@pytest.mark.parametrize("precision", list(UNIT_ROUNDOFF))
def test_a_single_number_is_taken_for_different_by_a_chance_of_one_in_a_million_at_most(precision):
    """Its floor has as many degrees of freedom as there are re-runs, so that its distance follows Student's t."""
    noisy, _ = reruns(UNIT_ROUNDOFF[precision], seed=3)
    assert 2 * scipy.stats.t.sf(limit_of(UNIT_ROUNDOFF[precision]), len(noisy)) < 1e-6


@pytest.mark.parametrize("precision", list(UNIT_ROUNDOFF))
def test_no_two_checks_share_noise(precision):
    seeds = [noise.seed for seed in range(5) for noise in reruns(UNIT_ROUNDOFF[precision], seed)[0]]
    assert len(set(seeds)) == len(seeds)


def test_a_floor_of_unsigned_integers_does_not_wrap_around():
    two, one = np.array([2], np.uint8), np.array([1], np.uint8)
    assert floor(two, [one], [one], 0.0) == pytest.approx(np.hypot(1, TURNED / LIMIT))


@pytest.mark.parametrize(
    ("precision", "limit"),
    [("float64", LIMIT), ("float32", LIMIT), ("tf32", COARSE_LIMIT), ("bfloat16", COARSE_LIMIT)],
)
def test_the_limit_follows_the_precision(precision, limit):
    assert limit_of(UNIT_ROUNDOFF[precision]) == limit


@pytest.mark.parametrize(
    ("precision", "count", "turned"),
    [
        ("float64", RERUNS, ()),
        ("float32", RERUNS, (1, -1)),
        ("tf32", COARSE_RERUNS, ()),
        ("bfloat16", COARSE_RERUNS, ()),
    ],
)
def test_reruns_of_two_checks_share_no_seed_and_decisions_are_turned_both_ways(precision, count, turned):
    unit = UNIT_ROUNDOFF[precision]
    noises = [reruns(unit, seed) for seed in (0, 3)]
    assert noises[0][0] == [RoundingNoise(unit, seed) for seed in range(count)]
    assert noises[1][0] == [RoundingNoise(unit, 3 * count + number) for number in range(count)]
    assert noises[1][1] == [RoundingNoise(unit, 3, way, once) for once in (False, True) for way in turned]


def test_an_integer_beside_a_float_is_measured_by_the_floor():
    assert distance(np.array([3]), np.array([3.5]), 0.25) == 2
    assert distance(np.array([3.5]), np.array([3]), 0.25) == 2


def test_nothing_has_no_size():
    assert rms(np.empty(0)) == 0


def test_single_precision_is_measured_in_double():
    assert rms(np.array([1, 2, 3], np.float32)) == pytest.approx(np.sqrt(14 / 3), rel=1e-15)


def test_noise_follows_the_precision(variant):
    """Twice the unit roundoff moves every activation twice as far."""
    spec = variant()
    batch = random_batch(spec)
    reference = backends.get("numpy_reference")
    exact = reference.build(spec, Execution(precision="float64")).forward(batch.images)
    moved = [
        rms(reference.build_noisy(spec, RoundingNoise(u, seed=1)).forward(batch.images) - exact)
        for u in (2.0**-40, 2.0**-39)
    ]
    assert moved[1] == pytest.approx(2 * moved[0], rel=1e-3)
    assert 2.0**-40 < moved[0] / rms(exact) < 100 * 2.0**-40


def test_reruns_differ_by_their_seed_only(variant):
    spec = variant()
    batch = random_batch(spec)
    build = backends.get("numpy_reference").build_noisy
    first, again, other = (build(spec, RoundingNoise(1e-7, seed)).forward(batch.images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_a_unit_near_zero_is_turned_where_that_is_asked_for(variant):
    """In float32 a ReLU whose input rounding could push over zero enters the floor by design, not by luck."""
    from backends.numpy_reference.activations import LeakyReLU

    spec = variant(norm={"kind": "none"}, block={"convolutions": 1, "order": ["conv", "activation"]})
    batch = random_batch(spec)
    reference = backends.get("numpy_reference")
    exact = reference.build(spec, Execution(precision="float64"))
    path = ["encoder", "0", "block", "0", "conv"]
    inputs = exact.activations(batch.images)[".".join(path)]
    # Move one channel's bias so that one input of its ReLU lies within rounding of zero.
    weights = exact.weights()
    weights["encoder.0.block.0.conv.bias"][2] -= inputs[1, 2, 3, 4] - 1e-9
    passes = []
    for turned in (1, 0, -1):
        model = reference.build_noisy(spec, RoundingNoise(2.0**-24, seed=1, turned=turned))
        model.load_weights(weights)
        activation = model.module.layers[".".join([*path[:-1], "activation"])]
        assert isinstance(activation, LeakyReLU)

        def backward(dy, activation=activation):
            passes.append(bool(activation.passes[1, 2, 3, 4]))
            return LeakyReLU.backward(activation, dy)

        activation.backward = backward
        model.loss_and_gradients(batch.images, batch.labels)
    assert passes == [False, True, True]


def test_of_a_network_with_millions_of_parameters_one_rerun_is_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small its images are: what training keeps of the parameters takes gigabytes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    spec = load_spec("unet_bn_same")
    assert runs_at_once(spec, random_batch(spec, 0)) == 1


@pytest.mark.parametrize("precision", [None, "float64", "float32", "bfloat16"])
def test_the_reference_trains_once_for_gradients_and_trajectory_alike(variant, precision: str | None) -> None:
    """Bit for bit what two runs say, under noise too."""
    spec = variant()
    batch, weights, reference = random_batch(spec, 0), initial_weights(spec, 0), backends.get("numpy_reference")

    def run(stage: Stage) -> dict[str, Quantities]:
        if precision is None:
            return stage(reference.build(spec, FLOAT64), weights, batch, 2)
        noise = RoundingNoise(UNIT_ROUNDOFF[precision], seed=1)
        return stage(reference.build_noisy(spec, noise), weights, batch, 2)

    apart, joined = run(differentiate) | run(train), run(differentiate_and_train)
    assert list(joined) == list(apart) == ["statistics", "gradients", "optimizer", "trajectory"]
    for probe, quantities in apart.items():
        assert list(joined[probe]) == list(quantities)
        for name, values in quantities.items():
            np.testing.assert_array_equal(joined[probe][name], values, err_msg=f"{probe}: {name}")


def test_numbers_out_of_the_pool_are_standard_normal_and_differ_from_time_to_time() -> None:
    pool = Pool(seed=0)
    for count in (Pool.FEW + 1, Pool.SIZE // 2, 3 * Pool.SIZE):
        first, again = (pool.standard_normal((count,)) for _ in range(2))
        assert not np.array_equal(first, again)
        assert abs(np.mean(first)) < 5 / np.sqrt(min(count, Pool.SIZE))
        assert np.mean(np.square(first)) == pytest.approx(1, abs=5 * np.sqrt(2 / min(count, Pool.SIZE)))
        assert abs(np.mean(first * again)) < 5 / np.sqrt(min(count, Pool.SIZE))
    few = [Pool(seed).standard_normal((3, 2)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(few[0], few[1])
    assert not np.array_equal(few[0], few[2])
