"""Write the figures of the suite itself into docs/tests.md, from what `make coverage` and `make mutants` left behind.

`python -m docs.suite coverage "the tests that ran" "the packages to show"`, an empty text standing for all of them, or
`python -m docs.suite mutants`.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shared_specs.files import write_atomically

from .tables import replace, row, table

PAGE = Path(__file__).parent / "tests.md"
CAUGHT = ("killed", "timeout", "segfault", "suspicious", "caught by type check")
"""A mutant that ends the tests in any of these ways was noticed; `survived` and `no tests` were not."""

Files = dict[str, dict[str, Any]]


def main(arguments: list[str]) -> None:
    match arguments:
        case ["coverage", tests, packages]:
            files = json.loads(output("coverage", "json", "-q", "-o", "/dev/stdout"))["files"]
            text = f"{coverage_table(files, packages.split())}\n\n{made('coverage', TESTS=tests, PACKAGES=packages)}"
        case ["mutants"]:
            text = f"{mutants_table(output('mutmut', 'results', '--all', 'true'))}\n\n{made('mutants')}"
        case _:
            raise SystemExit(f"got {arguments}, expected `coverage TESTS PACKAGES` or `mutants`")
    write_atomically(PAGE, replace(PAGE.read_text(encoding="utf-8"), arguments[0], text).encode())


def output(*command: str) -> str:
    return subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True).stdout


def made(what: str, **variables: str) -> str:
    tool = {"coverage": "coverage", "mutants": "mutmut"}[what]
    command = " ".join([f"make {what}", *(f"{name}='{value}'" for name, value in variables.items() if value)])
    return f"Made with `{command}`; {tool} {version(tool)}, Python {platform.python_version()}."


def coverage_table(files: Files, chosen: Sequence[str]) -> str:
    """Lines and branches of the chosen packages, or of every one, from coverage's JSON by file."""
    packages: dict[str, Counter[str]] = defaultdict(Counter)
    for path, file in files.items():
        if chosen and Path(path).parts[0] not in chosen:
            continue
        packages[Path(path).parts[0]].update(
            {key: value for key, value in file["summary"].items() if isinstance(value, int)} | {"files": 1}
        )
    body = [
        row(
            f"`{package}`",
            str(found["files"]),
            f"{found['num_statements']:,}",
            share(found["covered_lines"], found["num_statements"]),
            f"{found['num_branches']:,}",
            share(found["covered_branches"], found["num_branches"]),
        )
        for package, found in sorted(packages.items())
    ]
    return table(["package", "files", "lines", "run", "branches", "taken"], body, right=5)


def mutants_table(results: str) -> str:
    """Mutants of every module, from the lines `parity.batches.x_random_batch__mutmut_1: killed` of mutmut."""
    modules: dict[str, Counter[str]] = defaultdict(Counter)
    for line in results.splitlines():
        name, found, status = line.strip().rpartition(": ")
        if found:
            modules["/".join(name.split(".")[:2]) + ".py"][status] += 1
    total = sum(modules.values(), Counter())
    body = [mutants_row(f"`{module}`", found) for module, found in sorted(modules.items())]
    heads = ["module", "mutants", "killed", "survived", "score"]
    return table(heads, [*body, mutants_row("all", total)], right=4)


def mutants_row(name: str, found: Counter[str]) -> str:
    if unknown := set(found) - {*CAUGHT, "survived", "no tests"}:
        raise SystemExit(f"{name}: mutants are {', '.join(sorted(unknown))}; run `make mutants` to its end")
    caught = sum(found[status] for status in CAUGHT)
    return row(name, *(str(n) for n in (found.total(), caught, found.total() - caught)), share(caught, found.total()))


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "none"


if __name__ == "__main__":
    main(sys.argv[1:])
