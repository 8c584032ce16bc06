"""Every choice of the schema is the same network in every backend: a small network for each."""

from __future__ import annotations

import pytest

import parity
from tests.variants import VARIANTS, built

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")

PROBES = ("structure", "activations", "statistics", "gradients")
"""The others add the optimizer, which knows nothing of layers; the zoo's networks go through all."""


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
def test_equal_in_every_layer_and_gradient(changes):
    spec, images, labels = built(changes)
    verdict = parity.check(spec, probes=PROBES, batch=parity.Batch(images, labels, "of the test"))
    assert verdict.equal, str(verdict.first_difference)
    assert len(verdict.pairs) == 3
    assert verdict.probes == list(PROBES)


def test_one_level_is_equal_in_all_probes():
    spec, images, labels = built({"widths": [4]})
    verdict = parity.check(spec, batch=parity.Batch(images, labels, "of the test"), steps=2)
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.probes == list(parity.PROBES)
