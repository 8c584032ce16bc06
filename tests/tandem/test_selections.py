"""By how much `check` divides widths: quick for every network, and telling."""

from __future__ import annotations

import pytest

from shared_specs import load_spec
from tandem.selections import narrowed_to_check


@pytest.mark.parametrize(
    ("name", "divisor"),
    [
        ("unet_bn_same", 8),
        ("unet_bn_crop", 16),  # whose smallest telling input is large
        ("unet3d_cicek", 32),
        ("mlperf_unet3d", 16),  # by 32, a width would be 1
        ("monai_unet", 8),  # by 16, a width would be 1
    ],
)
def test_a_large_network_is_divided_further_and_no_width_becomes_1(name, divisor):
    spec, found = narrowed_to_check(load_spec(name))
    assert found == divisor
    assert min(spec.widths) > 1
    assert spec == load_spec(name).narrow(divisor)
