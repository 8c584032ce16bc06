"""The answer: for each scenario which backend and tuning, by what factor, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.records import Record
from benchmarks.verdict import FEWEST, compare

from ..cells import Names
from ..changes import beside, changes
from ..findings import Findings
from ..scaled import NO_CHOICE_YET, Scaled, nothing_else, scaled
from ..sentences import gates_sentence, parity_sentence, remarks
from ..verdicts import Setting, Verdict, to_choose, verdicts
from .markup import Html, bullets, details, element, join, paragraph, section
from .ratios import ratios

SHOWN = 3
"""Settings of a scenario that are shown at once; the others are folded."""


def answer(findings: Findings) -> Html:
    """A card a scenario, the ratios with their intervals, and each answer in full; of scaling alone, a card a sweep."""
    records, names = findings.records, Names(findings.records)
    beware = (paragraph("Beware: ", said, class_="beware") for said in remarks(findings, compare(records)))
    parts = [_parity(findings), *beware]
    found = verdicts(records)
    if nothing_else(records, found):
        parts += [element("ul", join(map(_scaling_card, scaled(records))), class_="cards"), _no_choice(records)]
        return section("answer", "How it scales", *parts)
    if records:
        parts += [element("ul", join(map(_card, found)), class_="cards"), ratios(records, names)]
        parts += [_in_full(verdict, records, names) for verdict in found]
    return section("answer", "Which backend, for what", *parts)


def _parity(findings: Findings) -> Html:
    equal = bool(findings.checks) and all(check.equal for check in findings.checks)
    mark = "good" if equal else "bad" if findings.checks else "soft"
    said = element("span", parity_sentence(findings.checks), class_=mark)
    return paragraph(said, " ", gates_sentence(findings.records), class_="lead")


def _card(verdict: Verdict) -> Html:
    """In a word, and by how much; it leads to the answer in full."""
    measured = bool(verdict.settings)
    said = _factors(verdict) if measured and verdict.choice != "it depends" else verdict.choices
    content = [
        element("span", verdict.scenario.name, class_="scenario"),
        element("span", _capital(verdict.choice), class_="choice"),
        element("span", said if measured else "See what measures it", class_="factors"),
    ]
    if any(setting.headline.is_busy for setting in verdict.settings):
        content.append(element("span", "Not to be relied on: the machine was busy.", class_="factors bad"))
    link = element("a", join(content, ""), href=f"#{verdict.scenario.identity}")
    return element("li", link, class_="card" if measured else "card empty")


def _scaling_card(found: Scaled) -> Html:
    """Of one sweep; it leads to its figures."""
    content = [
        element("span", f"{found.who}: {found.what}", class_="scenario"),
        element("span", _capital(found.choice), class_="choice"),
        element("span", f"{'; '.join(found.beside)}.", class_="factors"),
    ]
    return element("li", element("a", join(content, ""), href=f"#{found.section}"), class_="card")


def _no_choice(records: Sequence[Record]) -> Html:
    return join([paragraph(NO_CHOICE_YET, class_="soft"), element("pre", element("code", to_choose(records)))])


def _factors(verdict: Verdict) -> str:
    """The factor over the next one with its interval, or the least and the largest factor of several settings."""
    found = [setting.headline.ratios[0] for setting in verdict.settings if setting.headline.ratios]
    if not found or verdict.choice == "not comparable":
        return ""
    if verdict.choice == "not decided":
        return f"too few processes: take {FEWEST} replicates"
    if len(found) == 1 or verdict.choice == "a tie":
        return (
            f"ratio {found[0].ratio:.2f}, {found[0].interval}" if len(found) == 1 else f"in all {len(found)} settings"
        )
    low, high = min(ratio.ratio for ratio in found), max(ratio.ratio for ratio in found)
    others = {ratio.slower for ratio in found}
    _, _, words = verdict.scenario.better.partition("{} ")
    factor = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    return f"{factor} {words} {others.pop() if len(others) == 1 else 'the next'}"


def _in_full(verdict: Verdict, records: Sequence[Record], names: Names) -> Html:
    """The heading, what is compared, and for each setting the answer beside what would change it."""
    scenario = verdict.scenario
    head = element("h3", f"{scenario.name}: {verdict.choice}", id=scenario.identity)
    if not verdict.settings:
        what = paragraph(f"No record tells it. Compared would be {scenario.meaning}. This measures it:", class_="soft")
        return join([head, what, element("pre", element("code", verdict.command))])
    settings = [_setting(setting, records, names) for setting in verdict.settings]
    parts: list[object] = [head, paragraph(f"Compared is {scenario.meaning}.", class_="soft"), *settings[:SHOWN]]
    if settings[SHOWN:]:
        parts.append(details(f"{len(settings) - SHOWN} more", *settings[SHOWN:]))
    return join(parts)


def _setting(setting: Setting, records: Sequence[Record], names: Names) -> Html:
    headline = setting.headline
    phase = f", {headline.records[0].cell.phase}" if len(headline.scenario.phases) > 1 else ""
    said: list[object] = [
        paragraph(f"{names(headline.records[0])}{phase}", class_="label"),
        paragraph(_sentence(headline.sentence)),
        paragraph(f"{headline.medians}.", class_="soft") if headline.medians else "",
        *(paragraph(_sentence(more), class_="soft") for more in beside(setting, records)),
    ]
    would = changes(setting, records)
    change = [paragraph("What would change it", class_="label"), bullets(map(_sentence, would))] if would else []
    return element("div", element("div", join(said)), element("div", join(change)), class_="setting")


def _sentence(said: str) -> str:
    """With its full stop, and a capital letter where it does not begin with a name."""
    return f"{_capital(said)}." if said.startswith(("a tie", "only ", "not comparable")) else f"{said}."


def _capital(said: str) -> str:
    """But for names, which keep their small letters."""
    common = ("a tie", "only ", "not ", "nothing ", "it depends", "fastest ", "efficiency ")
    return f"{said[0].upper()}{said[1:]}" if said.startswith(common) else said
