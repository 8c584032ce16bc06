"""The report: what was found, from the files that `check`, `bench` and `compare` wrote, as Markdown."""

from .findings import Check, Findings, load
from .markdown import to_markdown

__all__ = ["Check", "Findings", "load", "to_markdown"]
