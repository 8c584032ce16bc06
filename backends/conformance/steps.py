"""The steps of the suite: what each needs, how it ended, and which one is next."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shared_specs import TandemError
from shared_specs.errors import one_line

Step = TypeVar("Step", bound=Callable[..., None])

PASSED, FAILED, NOT_TRIED, LEFT_OUT = "passed", "failed", "not tried", "left out"

HERE = Path(__file__).parent


class Failure(Exception):
    """A step that a backend does not pass, in one line: what was wrong, what was expected, what to do."""


def needs(*steps: str) -> Callable[[Step], Step]:
    """Names the steps without which this one says nothing."""

    def mark(step: Step) -> Step:
        step.__dict__["needs"] = steps
        return step

    return mark


def expect(held: bool, message: str) -> None:
    """Raises Failure with the message unless it held."""
    if not held:
        raise Failure(one_line(message))


def sentence(error: BaseException) -> str:
    """What a step raised, in one line, with the place where a backend raised what nobody expected."""
    if isinstance(error, Failure):
        return one_line(str(error))
    said = f"{type(error).__name__}: {one_line(str(error))}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != HERE]
    if isinstance(error, TandemError) or not frames:
        return said
    where = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
    return f"{said} ({Path(where.filename).name}, line {where.lineno}; --tb=long shows the way there)"


@dataclass(frozen=True)
class Outcome:
    """How one step ended.

    Attributes:
        name: of the step, with the parameter where it has one: "network[3-D, cropped]".
        status: PASSED, FAILED, NOT_TRIED or LEFT_OUT.
        why: one line, "" where it passed.
        cause: of one that was not tried, the step that failed.
    """

    name: str
    status: str
    why: str = ""
    cause: str = ""

    @property
    def function(self) -> str:
        return self.name.partition("[")[0]


@dataclass
class Outcomes:
    """How the steps ended so far, in order."""

    ended: list[Outcome] = field(default_factory=list)

    def blocking(self, needed: tuple[str, ...]) -> str | None:
        """The step that failed and without which a step with these needs is not tried, or None."""
        for outcome in self.ended:
            if outcome.function in needed and outcome.status in (FAILED, NOT_TRIED):
                return outcome.cause or outcome.name
        return None

    def of(self, status: str) -> list[Outcome]:
        return [outcome for outcome in self.ended if outcome.status == status]

    def summary(self) -> list[str]:
        """The lines for the end of a run: what is left out and why, what failed, and what is next."""
        failed, lines = self.of(FAILED), []
        left_out, not_tried = self.of(LEFT_OUT), self.of(NOT_TRIED)
        for why in dict.fromkeys(outcome.why for outcome in left_out):
            lines.append(f"left out    {_listed([outcome for outcome in left_out if outcome.why == why])}: {why}")
        for cause in dict.fromkeys(outcome.cause for outcome in not_tried):
            waiting = _listed([outcome for outcome in not_tried if outcome.cause == cause])
            lines.append(f"not tried   {waiting}: {cause} failed first")
        lines += [f"failed      {outcome.name}: {outcome.why}" for outcome in failed]
        asked = len(self.ended) - len(left_out)
        lines.append(f"{len(self.of(PASSED))} of {asked} steps")
        if failed:
            lines[-1] += f"; next: {failed[0].name}: {failed[0].why}"
        elif not self.of(PASSED):
            lines[-1] += "; nothing was tried"
        return lines


def _listed(outcomes: list[Outcome]) -> str:
    """The names of a few, else of the first steps, each once whatever its parameters."""
    if len(outcomes) <= 3:
        return ", ".join(outcome.name for outcome in outcomes)
    steps = list(dict.fromkeys(outcome.function for outcome in outcomes))
    return ", ".join(steps[:3]) + (f" and {len(steps) - 3} more" if len(steps) > 3 else "")
