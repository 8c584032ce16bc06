"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from tandem.units import counted, floors, milliseconds, sized


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (31_044_106, "31.0 M"), (999_600, "1.00 M"), (2.1e9, "2.10 G")],
)
def test_counts_have_three_digits_and_an_si_prefix(value: float, shown: str) -> None:
    assert counted(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 B"), (1023, "1023 B"), (4 * 2**20, "4.00 MiB"), (2**35, "32.0 GiB")]
)
def test_sizes_have_a_binary_prefix(value: float, shown: str) -> None:
    assert sized(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.00"), (63.96, "64.0"), (3e6, "3e+06"), (math.inf, "inf"), (math.nan, "inf")]
)
def test_floors_never_hide_what_is_not_finite(value: float, shown: str) -> None:
    assert floors(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.00123456, "1.235"), (0.02667, "26.67"), (1.1952, "1195")])
def test_milliseconds_have_four_digits(seconds: float, shown: str) -> None:
    assert milliseconds(seconds) == shown
