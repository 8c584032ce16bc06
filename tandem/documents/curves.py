"""`tandem curves --json`."""

from __future__ import annotations

from typing import Literal

from parity.envelope import Curves

from .base import Document


class CurvesDocument(Document):
    """Whether the loss curves of all backends stay where rounding alone could have driven them."""

    command: Literal["curves"]
    within: bool
    """Whether all of them do, at every step."""
    curves: tuple[Curves, ...]
    """One: every loss of every run, and what is said of them."""
