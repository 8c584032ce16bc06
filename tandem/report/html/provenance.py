"""Where the numbers come from: machine, versions, flags, commands, and the raw records themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.records import Record

from ...console import to_json
from ...left_out import processes
from ...units import milliseconds
from ..findings import Findings
from ..provenance import Code, facts
from .markup import Html, details, element, join, packed, paragraph, section
from .tables import Number, table

HEAD = ("cell", "process", "status", "ms a step", "steps timed", "other work %", "started", "message")


def provenance(findings: Findings) -> Html:
    """Facts, flags by backend, every process, and a button that downloads what the page was made of."""
    if not findings.records and not findings.checks:
        return Html("")
    records = [*findings.records, *findings.against]
    parts: list[object] = [_facts(findings.records)] if findings.records else []
    if findings.against:
        parts += [element("h3", "The run that it is compared with"), _facts(findings.against)]
    if any(record.flags for record in records):
        parts.append(details("Precision flags, read back while a step ran", _settings(records, "flags")))
    if any(record.environment for record in records):
        parts.append(details("Environment variables that can change a time", _settings(records, "environment")))
    if any(record.knobs for record in records):
        parts.append(details("What each tuning turned", _knobs(records)))
    if records:
        parts.append(details(f"Every process ({processes(records)})", _processes(records)))
    parts += [
        paragraph(
            "Every number on this page comes from the records within it. The file holds them as the benchmarks wrote "
            "them, with the checks; ",
            element("code", "tandem report"),
            " makes this page of it again.",
        ),
        element("button", "Download the records", type="button", class_="download", data_name="tandem-records.json"),
        paragraph(class_="soft status", role="status"),
        packed("records", to_json(findings.to_dict())),
    ]
    return section("provenance", "Where these numbers come from", *parts)


def _facts(records: Sequence[Record]) -> Html:
    return element("dl", join(_fact(name, values) for name, values in facts(records).items()))


def _fact(name: str, values: Sequence[str]) -> Html:
    codes = [element("dd", element("code", value)) for value in values if isinstance(value, Code)]
    return join([element("dt", name), *(codes or [element("dd", ", ".join(values))])])


def _settings(records: Iterable[Record], attribute: str) -> Html:
    """What was set, by backend and tuning: one row for each name and value."""
    rows: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        for name, value in getattr(record, attribute).items():
            rows.setdefault((name, value), {})[f"{record.cell.backend} {record.cell.tuning}"] = None
    written = [[element("code", name), element("code", value), ", ".join(who)] for (name, value), who in rows.items()]
    return table("By name", ("name", "value", "of"), written)


def _knobs(records: Iterable[Record]) -> Html:
    rows = {
        (r.cell.backend, r.cell.tuning, r.cell.phase, ", ".join(f"{name}={value}" for name, value in r.knobs.items()))
        for r in records
        if r.knobs
    }
    return table("By backend, tuning and phase", ("backend", "tuning", "phase", "knobs"), sorted(rows))


def _processes(records: Sequence[Record]) -> Html:
    return table("In the order in which they were read", HEAD, map(_process, records), (1, 3, 4, 5))


def _process(record: Record) -> list[object]:
    step, busy = record.step_s, record.other_work_percent
    return [
        record.cell.id,
        Number.of(record.replicate, str(record.replicate)),
        record.status.replace("_", " "),
        "" if step is None else Number.of(step, milliseconds(step)),
        Number.of(steps := sum(window.steps for window in record.windows), str(steps)),
        "" if busy is None else Number.of(busy, f"{busy:.0f}"),
        record.started_at,
        record.message,
    ]
