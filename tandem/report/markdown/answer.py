"""The answer in Markdown: parity, every comparison, and which backend for what."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Record
from benchmarks.verdict import Comparison

from ..changes import beside, changes
from ..findings import Findings
from ..scaled import NO_CHOICE_YET, nothing_else, place_of, points, scaled
from ..sentences import gates_sentence, parity_sentence, remarks
from ..verdicts import Verdict, to_choose, verdicts
from .markup import code, plain


def answer(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    """Parity, and a line for each comparison; for those of points of scaling, which decide nothing, what they say."""
    records = findings.records
    said = [parity_sentence(findings.checks), gates_sentence(records)]
    lines = [f"- **Parity.** {' '.join(map(plain, filter(None, said)))}"]
    of_scaling = points(records)
    for comparison in comparisons:
        decides = comparison.outcome not in ("undecided", "not_timed")
        if decides or not all(place_of(record) in of_scaling for record in comparison.records):
            lines.append(f"- **{plain(comparison.title)}.** {plain(comparison.sentence)}.")
    for found in scaled(records):
        lines.append(f"- **{plain(f'{found.what}: {found.who}')}.** {plain(found.sentence)}.")
    lines += [f"- **Beware.** {plain(remark)}" for remark in remarks(findings, comparisons)]
    return "\n".join(lines)


def scenarios(records: Sequence[Record]) -> str:
    """The answer of each scenario; of records of scaling alone, what would give one."""
    if not records:
        return ""
    found = verdicts(records)
    if nothing_else(records, found):
        return f"{plain(NO_CHOICE_YET)} {code(to_choose(records))}"
    lines = [line for verdict in found for line in _scenario(verdict, records)]
    return "\n\n".join(["## Which backend for what", "\n".join(lines)])


def _scenario(verdict: Verdict, records: Sequence[Record]) -> list[str]:
    name, choice = verdict.scenario.name, plain(verdict.choice)
    if not verdict.settings:
        return [f"- **{name}: not measured.** {code(verdict.command)} measures it."]
    lines = [f"- **{name}: {choice}.**" + (f" {plain(verdict.choices)}." if choice == "it depends" else "")]
    for setting in verdict.settings:
        lines.append(f"  - {plain(f'{setting.label}: {setting.headline.sentence}')}.")
        lines += [f"    - {plain(said)}." for said in [*beside(setting, records), *changes(setting, records)]]
    return lines
