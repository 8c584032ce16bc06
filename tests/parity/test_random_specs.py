"""Random networks over every choice of the schema at once pass all probes in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

import parity
from shared_specs import UNetSpec
from shared_specs.shapes import Shape, output_shape

from ..strategies import specs

# Without shrinking: each attempt compiles several programs, and the spec that failed is small and printed whole.
PHASES = (Phase.explicit, Phase.generate)


def prove(spec: UNetSpec, images: Shape, candidates: list[str], probes: tuple[str, ...] = parity.PROBES) -> None:
    random = np.random.default_rng(0)
    count, classes, *size = output_shape(spec, images)
    batch = parity.Batch(random.normal(size=images), random.integers(0, classes, (count, *size)), "random")
    verdict = parity.check(spec, candidates, probes=probes, batch=batch, steps=2)
    assert verdict.equal, f"{verdict.first_difference}\n{spec.model_dump_json(exclude_none=True)}"
    assert verdict.probes == list(probes)


@pytest.mark.needs_backends("pytorch")
@settings(max_examples=60, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs())
def test_pytorch_is_the_reference(case: tuple[UNetSpec, Shape]) -> None:
    prove(*case, ["pytorch"])


@pytest.mark.needs_backends("pytorch", "flax_nnx")
@settings(max_examples=8, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs())
def test_all_backends_are_the_same(case: tuple[UNetSpec, Shape]) -> None:
    prove(*case, ["pytorch", "flax_nnx"])


@pytest.mark.full
@pytest.mark.needs_backends("pytorch", "flax_nnx")
@settings(max_examples=200, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs())
def test_many_in_every_layer_and_gradient(case: tuple[UNetSpec, Shape]) -> None:
    prove(*case, ["pytorch", "flax_nnx"], ("structure", "activations", "statistics", "gradients"))
