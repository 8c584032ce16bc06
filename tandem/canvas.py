"""Letters on a grid, for drawings as text."""

from __future__ import annotations

from collections.abc import Sequence


class Canvas:
    """Rows of letters. What does not fit into the width is cut off, and rows come as they are written to."""

    def __init__(self, width: int):
        self.width = width
        self._rows: list[list[str]] = []

    def write(self, y: int, x: int, text: str) -> None:
        while len(self._rows) <= y:
            self._rows.append([" "] * self.width)
        for column, letter in enumerate(text, start=x):
            if 0 <= column < self.width:
                self._rows[y][column] = letter

    def write_left_of(self, y: int, end: int, text: str) -> None:
        """Text that ends before the column `end`."""
        self.write(y, end - len(text), text)

    def line(self, y: int, start: int, end: int) -> None:
        """A line from column `start` to before `end`."""
        self.write(y, start, "─" * (end - start))

    def arrow(self, y: int, start: int, end: int, words: Sequence[str] = ("",)) -> None:
        """An arrow to the right, with the first of `words` that leaves something to be seen of it in its middle."""
        self.line(y, start, end - 1)
        self.write(y, end - 1, "▶")
        label = next((f" {text} " for text in words if text and len(text) + 6 <= end - start), "")
        self.write(y, start + (end - 1 - start - len(label)) // 2, label)

    def lines(self) -> list[str]:
        """The rows, without the blanks at their ends."""
        return ["".join(row).rstrip() for row in self._rows]
