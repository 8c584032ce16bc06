"""What `tandem check --replicas` adds to a plan: one check for each kind of batch statistics."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import backends
import parity
from backends import Execution
from backends.replicas.model import has_batch_norm
from parity.compare import REFERENCE
from parity.probes import DATA_PARALLEL
from parity.replicas import Replicas
from shared_specs import TandemError
from shared_specs.recipe import BATCH_STATISTICS

from .. import selections
from ..console import say_note

if TYPE_CHECKING:
    from .check import Job, Plan, Request


def probes(request: Request) -> list[str]:
    """The probes to run.

    Raises:
        TandemError: for an unknown one, and where options of replicas stand without each other.
    """
    every = [*parity.PROBES, DATA_PARALLEL]
    chosen = selections.choose("probe", request.probes, every)
    if request.replicas == 1:
        if chosen == every:  # "all"
            chosen = None
        if chosen and DATA_PARALLEL in chosen:
            raise TandemError(f"the probe {DATA_PARALLEL} compares replicas; give --replicas 2 or more")
        if request.batch_statistics is not None:
            raise TandemError("--batch-statistics says what replicas have in common; give --replicas 2 or more")
        return chosen or list(parity.PROBES)
    if chosen and DATA_PARALLEL not in chosen:
        raise TandemError(
            f"--replicas is for the probe {DATA_PARALLEL}, which --probe leaves out; give both, or neither"
        )
    return chosen or every


def kinds(request: Request) -> list[str]:
    """The kinds of batch statistics to check; both where nobody asked for one. Raises TandemError."""
    given = None if request.batch_statistics is None else [request.batch_statistics]
    return selections.choose("kind of batch statistics", given, BATCH_STATISTICS) or list(BATCH_STATISTICS)


def check(chosen: Plan) -> None:
    """Find out whether replicas can be trained as asked, before any work.

    Raises:
        TandemError: with one line on the first thing that cannot.
    """
    for job in chosen.jobs if chosen.replicas > 1 else ():
        for execution in chosen.executions:
            found = [_replicas(job, execution, part) for part in _parts(job, chosen)]
            if not any(each.names for each in found):
                found[0].check_not_empty()
    both = chosen.replicas > 1 and len(chosen.batch_statistics) > 1
    if both and any(has_batch_norm(job.spec) for job in chosen.jobs):
        say_note(
            "with batch norm, global and per-replica batch statistics are two different models: each is compared with "
            "its own reference, and none with the other"
        )


def by_batch_statistics(job: Job, execution: Execution, chosen: Plan) -> list[Plan]:
    """The checks that one network in one precision takes. Only the first has the probes of one device.

    What none of the backends can train is said, and no check.
    """
    if chosen.replicas == 1:
        return [chosen]
    able: list[Plan] = []
    for part in _parts(job, chosen):
        found = _replicas(job, execution, part)
        if found.names:
            able.append(replace(part, probes=[DATA_PARALLEL]) if able else part)
        else:
            why = "; ".join(f"{name} {lacks}" for name, lacks in found.unable.items())
            say_note(f"{job.spec.name}, {part.recipe.batch_statistics} batch statistics: not compared, as {why}")
    return able


def _parts(job: Job, chosen: Plan) -> list[Plan]:
    """One for each kind of batch statistics, where there are any."""
    kinds = chosen.batch_statistics
    if not has_batch_norm(job.spec):
        kinds = kinds[:1]  # without batch norm all are one
    recipes = [chosen.recipe.model_copy(update={"batch_statistics": kind}) for kind in kinds]
    return [replace(chosen, recipe=recipe) for recipe in recipes]


def _replicas(job: Job, execution: Execution, part: Plan) -> Replicas:
    names = [name for name in part.backends if name != REFERENCE]
    lacking = {name: backends.get(name).capabilities.lacks(execution) for name in names}
    able = [name for name in names if lacking[name] is None]
    unable = {name: lacks for name, lacks in lacking.items() if lacks is not None}
    return Replicas(job.spec, able, execution, part.recipe, part.replicas, job.batch, unable)


def check_one_device(command: str, specs: Sequence[str], replicas: int | None) -> None:
    """Refuse replicas where they are not timed.

    A comparison is of all phases, with ceilings, of one process each. Replicas have one phase, no ceilings, and one
    device beside them, without which their times say little.

    Raises:
        TandemError: with the commands to take.
    """
    if replicas is None or replicas == 1:
        return
    names = shlex.join(specs or ["unet_bn_same"])
    raise TandemError(
        f"{command} times one device; `tandem check {names} --replicas {replicas} --json check.json` proves {replicas} "
        f"replicas, `tandem scale replicas {names} --most {replicas} --json times.json` times them, and `tandem report "
        "check.json times.json` has both"
    )
