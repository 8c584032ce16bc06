"""The answer in Markdown: parity, every comparison, and which backend for what."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Record
from benchmarks.verdict import Comparison

from ..changes import beside, changes
from ..findings import Findings
from ..sentences import gates_sentence, parity_sentence
from ..verdicts import Verdict, verdicts
from .markup import code, plain


def answer(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    said = [parity_sentence(findings.checks), gates_sentence(findings.records)]
    lines = [f"- **Parity.** {' '.join(map(plain, filter(None, said)))}"]
    lines += [f"- **{plain(comparison.title)}.** {plain(comparison.sentence)}." for comparison in comparisons]
    lines += [f"- **Beware.** {plain(remark)}" for remark in dict.fromkeys(findings.remarks)]
    return "\n".join(lines)


def scenarios(records: Sequence[Record]) -> str:
    if not records:
        return ""
    lines = [line for verdict in verdicts(records) for line in _scenario(verdict, records)]
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
