"""What the figures of a section cannot show, as a backend cannot do it."""

from __future__ import annotations

from ...left_out import unsupported
from ..findings import Findings
from .markup import Html, paragraph


def left_out(findings: Findings) -> Html:
    """One sentence; "" where every cell can be timed."""
    said = unsupported(findings.records)
    return paragraph(f"Not in these figures: {'; '.join(said)}.", class_="soft") if said else Html("")
