"""Write the tables of measured distances into docs/parity.md: `python -m docs.tables` (minutes).

Every figure comes from the JSON of a verdict; the text between two markers of the page is replaced.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

import backends
from backends.contract import UNIT_ROUNDOFF
from parity import PROBES, Verdict, check, compare_models, limit_of
from shared_specs import load_spec
from shared_specs.catalog import CORE
from shared_specs.files import write_atomically

PAGE = Path(__file__).parent / "parity.md"
NARROW, SEED, PRECISIONS = 8, 0, ("float64", "float32", "bfloat16")

Values = dict[str, Any]
"""A verdict as JSON; a distance that is infinite stands there as null."""


def main() -> None:
    verdicts = {precision: [measure(name, precision) for name in CORE] for precision in PRECISIONS}
    faults = planted_faults()
    page = PAGE.read_text(encoding="utf-8")  # now: the minutes before were long enough for an edit
    for precision, values in verdicts.items():
        page = replace(page, f"distances in {precision}", distances_table(values))
    page = replace(page, "summary", summary([value for values in verdicts.values() for value in values]))
    page = replace(page, "planted faults", faults_table(faults))
    write_atomically(PAGE, page.encode())


def measure(name: str, precision: str) -> Values:
    """All probes on all backends; the table's rows are printed as soon as they are there."""
    execution = backends.Execution(precision=precision)
    values = as_json(check(load_spec(name).narrow(NARROW), execution=execution, seed=SEED))
    print(f"{precision}\n" + "\n".join(rows(values)), file=sys.stderr, flush=True)
    return values


def as_json(verdict: Verdict) -> Values:
    return json.loads(verdict.to_json())


def rows(values: Values) -> list[str]:
    """One row a pair: the largest distance of each probe."""
    pairs = list(dict.fromkeys((m["reference"], m["candidate"]) for m in values["measurements"]))
    shape = "x".join(map(str, values["batch"]["shape"]))
    return [
        row(
            values["spec"]["name"],
            shape,
            f"{pair[0]}, {pair[1]}",
            *(figure(max(distances(values, probe, pair))) for probe in PROBES),
        )
        for pair in pairs
    ]


def distances(values: Values, probe: str | None = None, pair: tuple[str, str] | None = None) -> list[float]:
    return [
        np.inf if m["distance"] is None else m["distance"]
        for m in values["measurements"]
        if probe in (None, m["probe"]) and pair in (None, (m["reference"], m["candidate"]))
    ]


def distances_table(verdicts: list[Values]) -> str:
    body = [line for values in verdicts for line in rows(values)]
    return table(["network", "input", "pair", *PROBES], body, right=len(PROBES))


def summary(verdicts: list[Values]) -> str:
    """How the distances of all quantities lie, structure aside, which is exact."""
    lines = []
    for precision in PRECISIONS:
        chosen = [values for values in verdicts if values["execution"]["precision"] == precision]
        found = np.array([d for values in chosen for probe in PROBES[1:] for d in distances(values, probe)])
        middle, far = np.percentile(found, [50, 99.9])
        figures = [figure(middle), figure(far), figure(found.max()), f"{limit_in(precision):g}"]
        lines.append(row(precision, f"{found.size:,}", *figures))
    versions: dict[str, str] = {"Python": platform.python_version()}
    for name in backends.available():
        versions |= backends.get(name).versions()
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    heads = ["precision", "quantities compared", "median", "99.9th percentile", "largest", "limit"]
    return f"{table(heads, lines, right=5)}\n\nMade with {made}, on a CPU."


def limit_in(precision: str) -> float:
    return limit_of(UNIT_ROUNDOFF[precision])


def planted_faults() -> list[tuple[str, dict[str, Values]]]:
    """A PyTorch build with one small fault against a sound Flax build; the module is altered from outside."""
    spec, layer = load_spec("unet_bn_same").narrow(NARROW), "encoder.2.block.0.norm"
    faults = {
        "epsilon 1.0001e-5 for 1e-5 in one layer": ("eps", 1.0001e-5),
        "epsilon 1e-3 for 1e-5 in one layer": ("eps", 1e-3),
        "momentum 0.1001 for 0.1 in one layer": ("momentum", 0.1001),
    }
    found: dict[str, dict[str, Values]] = {what: {} for what in faults}
    for precision in PRECISIONS:
        execution = backends.Execution(precision=precision)
        sound, faulty = (backends.get(name).build(spec, execution) for name in ("flax_nnx", "pytorch"))
        norm = faulty.module.get_submodule(layer)  # pyright: ignore[reportAttributeAccessIssue]
        for what, (attribute, value) in faults.items():
            right = getattr(norm, attribute)
            setattr(norm, attribute, value)
            found[what][precision] = as_json(compare_models(sound, faulty, ("activations", "statistics"), SEED))
            setattr(norm, attribute, right)
    return list(found.items())


def faults_row(what: str, verdicts: dict[str, Values]) -> str:
    cells = []
    for values in verdicts.values():
        first = next((m for m in values["measurements"] if beyond(m)), None)
        cells += [figure(max(distances(values))), f"`{first['quantity']}`" if first else "none"]
    return row(what, *cells)


def beyond(measurement: Values) -> bool:
    return measurement["distance"] is None or measurement["distance"] > measurement["limit"]


def faults_table(found: list[tuple[str, dict[str, Values]]]) -> str:
    heads = ["fault in PyTorch"]
    for precision in PRECISIONS:
        heads += [f"largest distance, {precision}", "first layer or tensor beyond the limit"]
    return table(heads, [faults_row(*fault) for fault in found])


def figure(distance: float) -> str:
    """Three significant digits at most, without an exponent below a million."""
    if not np.isfinite(distance) or distance >= 1e6:
        return f"{distance:.1e}".replace("e+", "e")
    return f"{distance:,.0f}" if distance >= 100 else f"{distance:.2g}"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def table(heads: list[str], body: list[str], right: int = 0) -> str:
    """A Markdown table, whose last `right` columns are set flush right."""
    rule = ["---"] * (len(heads) - right) + ["--:"] * right
    return "\n".join([row(*heads), row(*rule), *body])


def replace(page: str, name: str, text: str) -> str:
    """The page with what stands between the two markers of this name replaced."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE}: has no markers {begin} and {end}; put them where the table goes")
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    main()
