"""How much longer a run takes: told from how long its parts took so far, and from nothing else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One thing of a run that takes time.

    Attributes:
        kind: parts of one kind tell of each other: "check", "reference", "ceiling" or "process".
        words: what it is, for people.
        like: what decides on its time, the most telling first. Parts that have more of its beginning in common tell
            more of each other.
        work: how much there is of it, in a unit of its kind.
    """

    kind: str
    words: str
    like: tuple[str, ...] = ()
    work: float = 1.0


class Estimate:
    """The parts of a run, in the order in which they come, and the seconds that those which are done took.

    Nothing is guessed: as long as no part of a kind is done, or far enough for its rest to be told, the time that is
    left is said to be more than what can be told.
    """

    TELLING = 0.2
    """The share of a part that has to be done for its rest to be told from it."""

    def __init__(self, parts: Sequence[Part], clock: Callable[[], float] = time.monotonic):
        self.parts, self._clock = list(parts), clock
        self._took_s: dict[int, float | None] = {}  # None for what was there already
        self._running: int | None = None
        self._share_done = 0.0
        self.started_at = self._part_started_at = clock()

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self.started_at

    @property
    def running(self) -> Part | None:
        return None if self._running is None else self.parts[self._running]

    def done(self, kind: str | None = None) -> int:
        """How many parts are done, of one kind or of all."""
        return sum(kind in (None, self.parts[number].kind) for number in list(self._took_s))

    @property
    def parts_done(self) -> float:
        """How many parts are done, with the share of the running one."""
        return self.done() + (self._share_done if self._running is not None else 0.0)

    def total(self, kind: str | None = None) -> int:
        return sum(kind in (None, part.kind) for part in self.parts)

    def place(self, part: Part) -> int:
        """The number of a part among those of its kind, from 1."""
        return 1 + [other for other in self.parts if other.kind == part.kind].index(part)

    def start(self, part: Part) -> None:
        self._running, self._share_done = self.parts.index(part), 0.0
        self._part_started_at = self._clock()

    def advance(self, share_done: float) -> None:
        """How much of the running part is done, from 0 to 1."""
        self._share_done = share_done

    def finish(self, part: Part) -> None:
        """A part is done; one that was not started was there already, and tells nothing."""
        number = self.parts.index(part)
        self._took_s[number] = self._clock() - self._part_started_at if number == self._running else None
        self._running = None

    def left_s(self) -> tuple[float, bool]:
        """The seconds that are left as far as they can be told, and whether that is all of them."""
        total_s, complete = 0.0, True
        for number, part in enumerate(self.parts):
            if number in self._took_s:
                continue
            needs_s = self._needs_s(part)
            if number == self._running:
                needs_s = self._rest_s(needs_s)
            if needs_s is None:
                complete = False
            else:
                total_s += needs_s
        return total_s, complete

    def _needs_s(self, part: Part) -> float | None:
        """What a part takes, from those done that are most like it."""
        known = [
            (_common(part.like, other.like), took_s / other.work)
            for number, took_s in list(self._took_s.items())  # a display's thread asks while parts end
            if took_s is not None and (other := self.parts[number]).kind == part.kind
        ]
        nearest = max((likeness for likeness, _ in known), default=None)
        paces = [pace for likeness, pace in known if likeness == nearest]
        return part.work * statistics.mean(paces) if paces else None

    def _rest_s(self, needs_s: float | None) -> float | None:
        """What is left of the running part, where that can be told."""
        passed_s = self._clock() - self._part_started_at
        if self._share_done >= self.TELLING:
            return passed_s * (1 - self._share_done) / self._share_done
        return None if needs_s is None else max(0.0, needs_s - passed_s)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How long a beginning two have in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def clock_time(seconds: float) -> str:
    """ "0:41", "12:05", "1:02:03"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left_in_words(left_s: float, complete: bool) -> str:
    """ "about 2 min left", "more than 40 s left", or that nothing is known yet."""
    if not complete and left_s < 1:
        return "time left not known yet"
    return f"{'about' if complete else 'more than'} {_rounded(left_s)} left"


def _rounded(seconds: float) -> str:
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 3570:
        return f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
