"""One display over a whole run of `tandem compare`: what is done now, how far it is, the time passed and left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from .console import console, say_progress
from .estimate import Estimate, Part, clock_time, left_in_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

KINDS = {"check": "checks", "reference": "references", "ceiling": "ceilings", "process": "processes"}
"""The parts of a run, in the order in which they are shown, and what several of them are called."""

BAR_WIDTH = 24


class RunDisplay:
    """On a terminal three lines at its foot, which are gone at the end; elsewhere one line for each part.

    Both go to stderr. Use it as a context: an exception, Ctrl-C among them, leaves the terminal clean.
    """

    def __init__(self, parts: Sequence[Part]):
        self.estimate = Estimate(parts)
        self.step = ""
        self._screen = console(stderr=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._hide()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way, so that results can be printed."""
        self._hide()
        yield
        self._show()

    def start(self, part: Part) -> None:
        """A part begins."""
        self.estimate.start(part)
        self.step = ""
        if self._live is None and not self._screen.is_terminal:
            say_progress(f"{self._now()}{self._so_far()}")

    def advance(self, step: str, share_done: float) -> None:
        """Within a part: what is done next, and how much of the part is done, from 0 to 1."""
        self.step = step
        self.estimate.advance(share_done)

    def finish(self, part: Part) -> None:
        """A part is done; one that was not started was done by an earlier run."""
        self.estimate.finish(part)
        self.step = ""

    def summary(self) -> str:
        """How far the run is: "2 of 2 checks, 1 of 3 references and 4 of 18 processes"."""
        counts = [f"{done} of {total} {kind}" for kind, done, total in self._counts()]
        return f"{', '.join(counts[:-1])} and {counts[-1]}" if len(counts) > 1 else "".join(counts)

    def _counts(self) -> list[tuple[str, int, int]]:
        found = ((words, self.estimate.done(kind), self.estimate.total(kind)) for kind, words in KINDS.items())
        return [(words, done, total) for words, done, total in found if total]

    def _now(self) -> str:
        part = self.estimate.running
        if part is None:
            return "starting"
        place = f"{part.kind} {self.estimate.place(part)} of {self.estimate.total(part.kind)}"
        return f"{place}: {part.words}{f', {self.step}' if self.step else ''}"

    def _so_far(self) -> str:
        elapsed_s = self.estimate.elapsed_s
        return f" ({clock_time(elapsed_s)} elapsed, {left_in_words(*self.estimate.left_s())})" if elapsed_s > 1 else ""

    def _show(self) -> None:
        if not self._screen.is_terminal:
            return
        from rich.live import Live

        # What is printed to stdout goes where the user sends it, and never through the display.
        self._live = Live(
            get_renderable=self._lines,
            console=self._screen,
            transient=True,
            redirect_stdout=False,
            refresh_per_second=8,
        )
        self._live.start()

    def _hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts = " | ".join(f"{kind} {done}/{total}" for kind, done, total in self._counts())
        times: Any = Table.grid(padding=(0, 1))
        times.add_row(
            ProgressBar(total=max(1, self.estimate.total()), completed=self.estimate.parts_done, width=BAR_WIDTH),
            Text(f"{clock_time(self.estimate.elapsed_s)} elapsed, {left_in_words(*self.estimate.left_s())}"),
        )
        lines = (Text(self._now(), "bold"), Text(counts, "dim"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines, times)
