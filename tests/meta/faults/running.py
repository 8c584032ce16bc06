"""Judge every mutant and the sound builds beside them, in several processes."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from . import report
from .catalogue import MUTANTS
from .fault import FLAX
from .judging import Outcome, judge, judge_sound, sound_settings

SOUND = sound_settings(MUTANTS)
TASKS = sorted(
    [("mutant", number) for number in range(len(MUTANTS))] + [("sound", number) for number in range(len(SOUND))],
    key=lambda task: (MUTANTS[task[1]].backend if task[0] == "mutant" else SOUND[task[1]][0]) not in FLAX,
)
"""What is judged, the slowest first."""


def judged(processes: int) -> tuple[list[Outcome], list[Outcome]]:
    """The outcome of every mutant, and of the sound builds beside them."""
    spawn = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would lose
    with ProcessPoolExecutor(processes, spawn) as pool:
        found = dict(zip(TASKS, pool.map(outcome, TASKS), strict=True))
    return (
        [found["mutant", number] for number in range(len(MUTANTS))],
        [found["sound", number] for number in range(len(SOUND))],
    )


def outcome(task: tuple[str, int]) -> Outcome:
    """Tasks are numbers, since faults are made of functions, which do not travel."""
    what, number = task
    result = judge(MUTANTS[number]) if what == "mutant" else judge_sound(*SOUND[number])
    print(f"{result.name}: {report.told(result.found)}", file=sys.stderr, flush=True)
    return result
