"""How much longer a run takes, by a clock of the tests' own."""

from __future__ import annotations

import pytest

from tandem.estimate import Estimate, Part, clock_time, left_in_words

CHECKS = [Part("check", "first", work=100.0), Part("check", "second", work=300.0)]
PROCESSES = [
    Part("process", "a forward", ("a", "forward")),
    Part("process", "b forward", ("b", "forward")),
    Part("process", "b backward", ("b", "backward")),
    Part("process", "a backward", ("a", "backward")),
]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def after(estimate: Estimate, clock: Clock, part: Part, seconds: float) -> None:
    """A part that takes so long."""
    estimate.start(part)
    clock.now += seconds
    estimate.finish(part)


def test_nothing_is_known_before_anything_is_done(clock: Clock) -> None:
    estimate = Estimate([*CHECKS, *PROCESSES], clock)
    assert estimate.left_s() == (0.0, False)
    assert left_in_words(*estimate.left_s()) == "time left not known yet"


def test_a_part_is_told_from_the_work_of_one_of_its_kind(clock: Clock) -> None:
    estimate = Estimate(CHECKS, clock)
    after(estimate, clock, CHECKS[0], 2.0)
    assert estimate.left_s() == (6.0, True)


def test_what_no_part_of_its_kind_tells_is_said_to_be_missing(clock: Clock) -> None:
    estimate = Estimate([*CHECKS, *PROCESSES], clock)
    after(estimate, clock, CHECKS[0], 20.0)
    assert estimate.left_s() == (60.0, False)
    assert left_in_words(*estimate.left_s()) == "more than 1 min left"


def test_the_most_alike_part_tells(clock: Clock) -> None:
    estimate = Estimate([*PROCESSES, Part("process", "b step", ("b", "step"))], clock)
    after(estimate, clock, PROCESSES[0], 10.0)
    assert estimate.left_s() == (40.0, True)
    after(estimate, clock, PROCESSES[1], 50.0)
    assert estimate.left_s() == (110.0, True)  # b's others like b's first, a's like a's


def test_the_running_part_counts_down(clock: Clock) -> None:
    estimate = Estimate(PROCESSES[:2], clock)
    after(estimate, clock, PROCESSES[0], 10.0)
    estimate.start(PROCESSES[1])
    clock.now += 4.0
    assert estimate.left_s() == (6.0, True)
    clock.now += 40.0
    assert estimate.left_s() == (0.0, True)


def test_a_part_tells_of_its_own_rest_once_enough_of_it_is_done(clock: Clock) -> None:
    estimate = Estimate(CHECKS[:1], clock)
    estimate.start(CHECKS[0])
    clock.now += 3.0
    estimate.advance(0.1)
    assert estimate.left_s() == (0.0, False)
    estimate.advance(0.25)
    assert estimate.left_s() == (9.0, True)


def test_what_was_there_already_tells_nothing(clock: Clock) -> None:
    estimate = Estimate(PROCESSES, clock)
    for part in PROCESSES[:2]:
        estimate.finish(part)  # and was never started
    assert estimate.left_s() == (0.0, False)
    assert (estimate.done(), estimate.total()) == (2, 4)


def test_parts_are_counted_by_kind(clock: Clock) -> None:
    estimate = Estimate([*CHECKS, *PROCESSES], clock)
    after(estimate, clock, CHECKS[0], 1.0)
    estimate.start(CHECKS[1])
    estimate.advance(0.5)
    assert (estimate.done("check"), estimate.done("process"), estimate.total("process")) == (1, 0, 4)
    assert estimate.parts_done == 1.5
    assert estimate.place(PROCESSES[2]) == 3


@pytest.mark.parametrize(("seconds", "shown"), [(0.9, "0:00"), (41, "0:41"), (725, "12:05"), (3723, "1:02:03")])
def test_times_passed(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(1, "5 s"), (33, "35 s"), (58, "1 min"), (200, "3 min"), (3600, "1 h"), (5000, "1 h 23 min")]
)
def test_times_left_are_rounded(seconds: float, shown: str) -> None:
    assert left_in_words(seconds, complete=True) == f"about {shown} left"
