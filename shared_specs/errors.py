"""Errors a user can cause. Each message is one line: what was wrong, what was expected, what to do."""


class TandemError(Exception):
    """Bad input. The command line prints the message alone and exits with code 2.

    What cannot be printed becomes a space: messages quote names from files, and those may hold line breaks, the
    sequences by which a terminal is told to do things, and signs that turn the direction of writing.
    """

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message)))


class SpecError(TandemError):
    """A spec or recipe that cannot be read, or that describes no network."""


class ShapeError(TandemError):
    """An input size that the network cannot take, or arrays of the wrong shape."""


class WeightsError(TandemError):
    """Weights that do not belong to the spec, or that cannot be read."""


def printable(text: str) -> str:
    """The text with a space for every character that is none to be seen."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def one_line(text: str) -> str:
    """Fold a library's multi-line message into one line, for use inside a message of ours."""
    return " ".join(str(text).split())
