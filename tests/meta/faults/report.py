"""The tables of what was caught, as they stand in docs/parity.md."""

from __future__ import annotations

from collections.abc import Sequence

from docs.tables import row, table
from parity import PROBES

from .catalogue import FAULTS, MUTANTS, SUBJECTS
from .criteria import RULES
from .fault import BACKENDS
from .judging import Outcome

LEAST_LOCATED = 0.95
"""The share of mutants that the named probe must catch first and whose named layer must be told."""

Group = tuple[str, list[Outcome]]


def by_subject(mutants: Sequence[Outcome]) -> str:
    groups = [(subject, named(mutants, {fault.name for fault in faults})) for subject, faults in SUBJECTS.items()]
    return counted("subject", [*groups, ("**all**", list(mutants))])


def by_probe(mutants: Sequence[Outcome]) -> str:
    groups = [
        (f"`{probe}`", [each for each in mutants if each.expected and each.expected[0] == probe]) for probe in PROBES
    ]
    return counted("probe that must catch it", groups)


def by_backend(mutants: Sequence[Outcome], sound: Sequence[Outcome]) -> str:
    """The reference has no sound builds: it is what the others are compared with."""
    lines = []
    for backend in BACKENDS:
        planted, builds = ([each for each in group if each.backend == backend] for group in (mutants, sound))
        lines.append(row(f"`{backend}`", *counts(planted), str(len(builds)), str(sum(each.caught for each in builds))))
    return table(["planted in", *COUNTED, "sound builds", "false alarms"], lines, right=7)


def named(mutants: Sequence[Outcome], faults: set[str]) -> list[Outcome]:
    return [each for each in mutants if each.name.partition(": ")[2] in faults]


COUNTED = ("faults", "mutants", "caught", "by the named probe", "and at the named layer")


def counted(head: str, groups: Sequence[Group]) -> str:
    return table([head, *COUNTED], [row(name, *counts(found)) for name, found in groups], right=5)


def counts(mutants: Sequence[Outcome]) -> list[str]:
    """As COUNTED."""
    caught = (sum(each.caught for each in mutants), sum(each.caught_by_probe for each in mutants))
    located = sum(each.located for each in mutants)
    return [str(n) for n in (len({each.name.partition(": ")[2] for each in mutants}), len(mutants), *caught, located)]


def by_rule(mutants: Sequence[Outcome], sound: Sequence[Outcome]) -> str:
    """Tandem and other people's rules on the same values."""
    mutant_count, sound_count = len(mutants), len(sound)
    caught = {"Tandem: 64 noise floors, every quantity": (sum(m.caught for m in mutants), sum(s.caught for s in sound))}
    for rule in RULES:
        missed, passed = (sum(each.equal_by[rule] for each in group) for group in (mutants, sound))
        caught[rule] = (mutant_count - missed, sound_count - passed)
    lines = [
        row(rule, f"{found} of {mutant_count}", str(mutant_count - found), f"{alarms} of {sound_count}")
        for rule, (found, alarms) in caught.items()
    ]
    return table(["equal means", "mutants caught", "missed", "false alarms"], lines, right=3)


def failures(mutants: Sequence[Outcome], sound: Sequence[Outcome]) -> list[str]:
    """What makes the run fail, one line each."""
    lines = [f"survived: {each.name}; expected {told(each.expected)}" for each in mutants if not each.caught]
    lines += [
        f"false alarm: {each.name}: {told(each.found)}, {each.distance:.3g} floors" for each in sound if each.caught
    ]
    if not mutants or sum(each.located for each in mutants) < LEAST_LOCATED * len(mutants):
        lines.append(f"fewer than {LEAST_LOCATED:.0%} of the mutants were caught and located as the catalogue says")
    return lines


def elsewhere(mutants: Sequence[Outcome]) -> list[str]:
    """The mutants that were caught by another probe, or at another layer, than the catalogue says."""
    return [
        f"elsewhere: {each.name}: found {told(each.found)}, expected {told(each.expected)}"
        for each in mutants
        if each.caught and not each.located
    ]


def distances(mutants: Sequence[Outcome]) -> list[tuple[str, str, str, float]]:
    """Of each mutant that was caught: name, precision, probe, and the distance of the quantity that was named."""
    precisions = {mutant.name: mutant.setting.execution.precision for mutant in MUTANTS}
    return [(each.name, precisions[each.name], each.found[0], each.distance) for each in mutants if each.found]


def told(place: tuple[str, str] | None) -> str:
    return "nothing" if place is None else f"{place[1]} ({place[0]})"


def summary(mutants: Sequence[Outcome], sound: Sequence[Outcome]) -> str:
    located, caught = sum(each.located for each in mutants), sum(each.caught for each in mutants)
    alarms = sum(each.caught for each in sound)
    return (
        f"{len(FAULTS)} faults, planted {len(mutants)} times: {caught} caught, {located} of them where it was named "
        f"beforehand. {len(sound)} sound builds: {alarms} false alarms."
    )
