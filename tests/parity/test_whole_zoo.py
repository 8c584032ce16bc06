"""Every network of the zoo, narrow, in float64: all probes, all pairs of backends. The core has tests of its own."""

from __future__ import annotations

import pytest

import parity
from shared_specs import load_spec
from tandem.selections import narrowed

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


def test_equal_in_all_probes(zoo_name):
    spec, _ = narrowed(load_spec(zoo_name), None, default=32)
    count = {2: 2, 3: 1}[spec.dimensions]  # one volume has as many voxels as a batch of images has pixels
    verdict = parity.check(spec, steps=2, batch=parity.random_batch(spec, count=count))
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(parity.PROBES)
    assert len(verdict.pairs) == 3
