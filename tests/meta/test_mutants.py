"""A mutant is run against its own module's tests, and against others for as long as they are quick."""

from __future__ import annotations

from tests.mutants import MOST_SECONDS, SECONDS_A_TEST, chosen

OWN, SLOW_OWN = "tests/shared_specs/test_sizes.py::test_a", "tests/shared_specs/test_sizes.py::test_slow[1]"
QUICK, SLOW = "tests/parity/test_sizes_of_batches.py::test_b", "tests/parity/test_batches.py::test_c"
SECONDS = {OWN: 0.25, SLOW_OWN: 9.0, QUICK: 0.001, SLOW: MOST_SECONDS}


def test_its_own_module_comes_first_and_what_is_slow_elsewhere_is_left_out() -> None:
    assert chosen("shared_specs.sizes.x_sizes_of__mutmut_1", [SLOW, SLOW_OWN, QUICK, OWN], SECONDS) == [
        OWN,
        SLOW_OWN,
        QUICK,
    ]


def test_every_quick_test_takes_its_share() -> None:
    many = [f"tests/shared_specs/test_layout.py::test_{number:04}" for number in range(1_000)]
    ran = chosen("shared_specs.sizes.x_sizes_of__mutmut_1", many, {})
    assert ran == many[: len(ran)]
    assert MOST_SECONDS - 2 * SECONDS_A_TEST < len(ran) * SECONDS_A_TEST <= MOST_SECONDS
