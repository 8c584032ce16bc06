"""The page: sections one after the other, with style, script and plotly in it, so that it needs no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from shared_specs import TandemError

from ...console import version
from ...left_out import processes
from ..cells import short
from ..findings import Findings
from .against import against
from .answer import answer
from .curves import curves
from .devices import devices
from .energy import energy
from .markup import Html, element, join, packed
from .memory import memory
from .parity import parity
from .profile import profile
from .provenance import provenance
from .roofline import roofline
from .scaling import scaling
from .start import start
from .throughput import throughput

Section = Callable[[Findings], Html]

SECTIONS: tuple[Section, ...] = (
    answer,
    against,
    parity,
    profile,
    curves,
    throughput,
    scaling,
    devices,
    roofline,
    memory,
    start,
    energy,
    provenance,
)
"""In this order; one that has nothing to show gives ""."""

HEADING = re.compile(r'<section id="([a-z-]+)"[^>]*>\s*<h2[^>]*>(.*?)</h2>')

HERE = Path(__file__).parent


def check_installed() -> None:
    """Raises TandemError, naming the extra, where plotly is not installed."""
    if find_spec("plotly") is None:
        raise TandemError(
            "the HTML report needs plotly, not installed here; pip install 'tandem[report]', or take --format markdown"
        )


def to_html(findings: Findings) -> str:
    """The whole page. Raises TandemError where plotly is not installed."""
    check_installed()
    sections = [made for make in SECTIONS if (made := make(findings))]
    plotly, script = _plotly(), (HERE / "page.js").read_text(encoding="utf-8")
    style = (HERE / "style.css").read_text(encoding="utf-8")
    contents = [element("a", Html(name), href=f"#{identity}") for identity, name in HEADING.findall("".join(sections))]
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, script)}">'),
        element("title", "Tandem report"),
        Html(f"<style>{style}</style>"),
    ]
    body = [
        element("a", "Skip to the answer", href="#main", class_="skip"),
        element(
            "header",
            element("h1", "Tandem report"),
            element("button", "Dark", type="button", id="theme", hidden=True),
            element("p", _subject(findings), class_="soft"),
        ),
        element("nav", *contents, aria_label="Contents"),
        element("main", join(sections), id="main", tabindex="-1"),
        element("footer", f"Written by tandem {version()}."),
        packed("plotly", plotly),
        Html(f"<script>{script}</script>"),
    ]
    document = element("html", element("head", join(head)), element("body", join(body)), lang="en")
    return f"<!doctype html>\n{document}\n"


def _subject(findings: Findings) -> str:
    """What the page is of, in a line: what is the same in all that it shows."""
    records = findings.records
    narrowed = [(record.cell.spec_label, f"_narrow{record.cell.narrow}") for record in records]
    names = [label.removesuffix(narrow) for label, narrow in narrowed]
    specs = dict.fromkeys([*names, *(check.spec.name for check in findings.checks)])
    parts = [*specs] if len(specs) <= 3 else [f"{len(specs)} networks"]
    for values in (
        {f"{record.machine.cpu}, {record.machine.usable_cores} cores" for record in records},
        {gpu.name for record in records for gpu in record.machine.gpus},
        {f"{record.cell.precision} on {record.cell.device}" for record in records},
        {f"commit {short(record.commit)}" for record in records if record.commit},
        {record.started_at[:10] for record in records if record.started_at},
    ):
        parts += [min(values) if len(values) == 1 else ""]
    return " · ".join(filter(None, [*parts, f"{count} processes" if (count := processes(records)) else ""]))


def _policy(*scripts: str) -> str:
    """Nothing is fetched from anywhere, and no script runs but these."""
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _plotly() -> str:
    """Carriage returns are line feeds, as they are to a browser, which compares the digest."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")
