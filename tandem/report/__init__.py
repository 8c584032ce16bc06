"""The report: what was found, from the files that `check`, `bench` and `compare` wrote, as Markdown and as HTML."""

from .findings import Check, Findings, load
from .html import to_html
from .markdown import to_markdown

__all__ = ["Check", "Findings", "load", "to_html", "to_markdown"]
