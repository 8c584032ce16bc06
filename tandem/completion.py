"""What the shell offers at a press of the tab key. Each asks where the names are kept, and loads no framework.

A list that is empty lets the shell complete files, as for every argument that has nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

ZOO = Path(__file__).parent.parent / "shared_specs" / "zoo"
"""The zoo's folder, listed without importing the package: a tab key should answer at once."""


def a_spec(incomplete: str) -> list[str]:
    """Names in the zoo, and TOML files that begin like this."""
    zoo = sorted(path.stem for path in ZOO.glob("*.toml"))
    return [*_starting(zoo, incomplete), *_toml_files(incomplete)]


def specs(incomplete: str) -> list[str]:
    """The same, and all of the zoo."""
    return [*a_spec(incomplete), *_starting(["all"], incomplete)]


def _toml_files(incomplete: str) -> list[str]:
    folder, slash, name = incomplete.rpartition("/")
    try:
        found = sorted(path.name for path in Path(folder or ("/" if slash else ".")).glob("*.toml"))
    except OSError:  # a folder that may not be read has nothing to offer
        return []
    return [f"{folder}{slash}{file}" for file in _starting(found, name) if not file.startswith(".")]


def one_of(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Completes to one of these names, which are asked for when the tab key is pressed."""

    def complete(incomplete: str) -> list[str]:
        return _starting(names(), incomplete)

    return complete


def some_of(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Completes the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{name}" for name in _starting(names(), last) if name not in given]

    return complete


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def backends() -> list[str]:
    from backends import names

    return names()


def contestants() -> list[str]:
    from benchmarks.contestants import known

    return known()


def precisions() -> tuple[str, ...]:
    from backends.contract import PRECISIONS

    return PRECISIONS


def phases() -> tuple[str, ...]:
    from backends.contract import PHASES

    return PHASES


def probes() -> tuple[str, ...]:
    from parity.probes import EVERY_PROBE

    return EVERY_PROBE


def batch_statistics() -> tuple[str, ...]:
    from shared_specs.recipe import BATCH_STATISTICS

    return BATCH_STATISTICS


def tunings() -> list[str]:
    from backends import available, capabilities

    return list(dict.fromkeys(tuning for name in available() for tuning in capabilities(name).tunings))


def devices() -> tuple[str, ...]:
    return ("cpu", "cuda")


def optimizers() -> list[str]:
    from shared_specs.recipe import OPTIMIZERS

    return list(OPTIMIZERS)


def axes() -> tuple[str, ...]:
    from benchmarks.scaling import AXES

    return (*AXES, "replicas")


def norms() -> list[str]:
    from .commands.zoo import all_norms

    return all_norms()


def sorts() -> list[str]:
    from .commands.zoo import SORTS

    return list(SORTS)


def formats() -> list[str]:
    from backends.checkpoints import FORMATS

    return list(FORMATS)
