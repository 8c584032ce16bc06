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
from ..findings import Findings
from .markup import Html, element, join
from .parity import parity

Section = Callable[[Findings], Html]

SECTIONS: tuple[Section, ...] = (parity,)
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
    scripts = [_plotly(), (HERE / "page.js").read_text(encoding="utf-8")]
    style = (HERE / "style.css").read_text(encoding="utf-8")
    contents = [element("a", Html(name), href=f"#{identity}") for identity, name in HEADING.findall("".join(sections))]
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'),
        element("title", "Tandem report"),
        Html(f"<style>{style}</style>"),
    ]
    body = [
        element("a", "Skip to the answer", href="#main", class_="skip"),
        element(
            "header",
            element("h1", "Tandem report"),
            element("button", "Dark", type="button", id="theme", hidden=True),
        ),
        element("nav", *contents, aria_label="Contents"),
        element("main", join(sections), id="main", tabindex="-1"),
        element("footer", f"Written by tandem {version()}."),
        *(Html(f"<script>{script}</script>") for script in scripts),
    ]
    document = element("html", element("head", join(head)), element("body", join(body)), lang="en")
    return f"<!doctype html>\n{document}\n"


def _policy(scripts: list[str]) -> str:
    """Nothing is fetched from anywhere, and no script runs but these."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()
