"""Whether the user has interrupted: not every library lets a KeyboardInterrupt through.

pydantic makes a SchemaError of one that comes while it builds a model's validator.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_latest = threading.Event()
"""Of the `noticed` that is entered, or was last."""


def came() -> bool:
    """Whether the user has interrupted, whatever became of the KeyboardInterrupt."""
    return _latest.is_set()


@contextmanager
def noticed() -> Iterator[threading.Event]:
    """Within, interrupts are raised as ever, and the event is set by the first of them."""
    global _latest
    event = _latest = threading.Event()
    listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not listens or threading.current_thread() is not threading.main_thread():
        yield event  # somebody else's, or ignored
        return

    def interrupt(number: int, frame: object) -> None:
        event.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
