"""Output on streams that cannot hold every letter: each becomes a plain one of the same width, and none is an error."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

LOOK_ALIKES = {
    **dict.fromkeys("─━╸╺╌…", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("└╰", "`"),
    **dict.fromkeys("┘╯", "'"),
    **dict.fromkeys("┌┐╭╮├┤┬┴┼", "+"),
    **dict.fromkeys("▶→", ">"),
    "▲": "^",
    "▼": "v",
    "↘": "\\",
    "↗": "/",
    "\N{MULTIPLICATION SIGN}": "x",
    "—": "-",
    "\N{EN DASH}": "-",
}

HANDLER = "tandem.look_alikes"


def look_alike(letter: str) -> str:
    """One ASCII letter in place of one that a stream cannot hold: its like, its base letter, or a question mark."""
    base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return LOOK_ALIKES.get(letter) or base[:1] or "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(look_alike, error.object[error.start : error.end])), error.end


def make_printable() -> None:
    """Let stdout and stderr take any text, whatever their encoding."""
    codecs.register_error(HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors=HANDLER)
