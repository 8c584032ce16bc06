"""How far sound builds lie, and how far planted faults: `python -m docs.distances`.

Checks random sound cases (docs/cases.py) until `docs/distances/sound.jsonl` holds as many as asked for, a line each. It
can be cut off at any time and goes on where it was. Then the table of docs/parity.md and the plot are written from that
record and from `docs/distances/faults.jsonl`. Ends with 1 where a sound case lies beyond the limit.
"""

from __future__ import annotations

import os

# Before the frameworks are loaded. Each program runs a few times on a small map: what XLA would do for its speed takes
# longer than it does.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docs.cases import BINS, INFINITE, NOTHING, PRECISIONS, Values, case
from docs.plot import plot
from docs.tables import PAGE, figure, limit_in, replace, row, table
from parity import PROBES
from shared_specs.files import write_atomically

FOLDER = Path(__file__).parent / "distances"
SOUND, FAULTS, PLOT = FOLDER / "sound.jsonl", FOLDER / "faults.jsonl", FOLDER.with_suffix(".svg")


@dataclass(frozen=True)
class Cloud:
    """All distances of one probe in one precision.

    Attributes:
        bins: how many quantities of sound builds, by bin (see `docs.cases.bin_of`).
        largest: the largest distance of a sound build.
        faults: of every planted fault that this probe catches, the distance of the quantity that is named.
    """

    precision: str
    probe: str
    bins: Counter[int]
    largest: float
    faults: Sequence[float]

    @property
    def limit(self) -> float:
        return limit_in(self.precision)

    def quantile(self, share: float) -> float:
        """The distance that this share of the quantities does not exceed, to within a bin."""
        left = share * self.bins.total()
        for key in sorted(self.bins):
            if left <= self.bins[key]:
                if key == NOTHING:
                    return 0.0
                return math.inf if key == INFINITE else min(self.largest, 10 ** ((key + left / self.bins[key]) / BINS))
            left -= self.bins[key]
        return self.largest


def read(path: Path) -> list[Values]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def collect(path: Path, count: int) -> None:
    """Check cases 0 to count - 1, those that the file lacks, and append a line for each."""
    drop_torn_line(path)
    done = {values["case"] for values in read(path)}
    with path.open("a", encoding="utf-8") as file:
        for number in range(count):
            if number not in done:
                values = case(number).record()
                file.write(line(values))
                file.flush()
                largest = {probe: kept["worst"] for probe, kept in values.get("probes", {}).items()}
                print(f"{number} {values['precision']} {values.get('error', largest)}", file=sys.stderr, flush=True)


def drop_torn_line(path: Path) -> None:
    """Whoever was cut off while writing has left a line without an end."""
    if path.exists():
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")


def line(values: Values) -> str:
    return json.dumps(values, separators=(",", ":"), allow_nan=False) + "\n"


def write_faults(found: Iterable[tuple[str, str, str, float]]) -> None:
    """Keep how far faults lie: (name, precision, probe that caught it, distance of the named quantity) of each."""
    lines = [
        line({"fault": name, "precision": precision, "probe": probe, "distance": distance})
        for name, precision, probe, exact in found
        for distance in [float(f"{exact:.4g}") if math.isfinite(exact) else None]
    ]
    write_atomically(FAULTS, "".join(lines).encode())


def clouds(sound: Sequence[Values], faults: Sequence[Values]) -> list[Cloud]:
    """One for each precision and probe."""
    found = []
    for precision in PRECISIONS:
        chosen = [values["probes"] for values in sound if values["precision"] == precision and "probes" in values]
        for probe in PROBES:
            bins: Counter[int] = Counter()
            for probes in chosen:
                bins.update({int(key): count for key, count in probes[probe]["bins"].items()})
            largest = max((infinite(probes[probe]["worst"]) for probes in chosen), default=0.0)
            caught = [
                infinite(fault["distance"])
                for fault in faults
                if (fault["precision"], fault["probe"]) == (precision, probe)
            ]
            found.append(Cloud(precision, probe, bins, largest, caught))
    return found


def infinite(distance: float | None) -> float:
    """JSON knows no infinity: there it is null."""
    return math.inf if distance is None else distance


def alarms(sound: Sequence[Values]) -> list[str]:
    """The sound cases beyond the limit, one line each, and those that could not be compared."""
    lines = [f"case {values['case']}: {values['error']}" for values in sound if "error" in values]
    for values in sound:
        worst = max((infinite(kept["worst"]) for kept in values.get("probes", {}).values()), default=0.0)
        if worst > limit_in(values["precision"]):
            lines.append(f"case {values['case']}: {', '.join(values['farthest'])}: {worst:.3g} floors")
    return lines


def distances_table(found: Sequence[Cloud]) -> str:
    heads = ["precision", "probe", "quantities", "median", "99.9th percentile", "largest", "limit"]
    heads += ["faults caught", "nearest of them"]
    lines = [
        row(
            cloud.precision,
            f"`{cloud.probe}`",
            f"{cloud.bins.total():,}",
            *(figure(distance) for distance in (cloud.quantile(0.5), cloud.quantile(0.999), cloud.largest)),
            f"{cloud.limit:g}",
            str(len(cloud.faults)),
            nearest(cloud.faults),
        )
        for cloud in found
    ]
    return table(heads, lines, right=7)


def nearest(faults: Sequence[float]) -> str:
    if not faults:
        return "none"
    return figure(min(faults)) if math.isfinite(min(faults)) else "infinite"


def summary(sound: Sequence[Values], faults: Sequence[Values]) -> str:
    """What the table is made of, in a sentence or two."""
    networks, both = len({values["spec"] for values in sound}), sum(len(values["backends"]) > 1 for values in sound)
    quantities = sum(cloud.bins.total() for cloud in clouds(sound, faults))
    return (
        f"{len(sound):,} sound cases of {networks:,} networks ({both} of them in Flax as well), {quantities:,} "
        f"quantities compared: {len(alarms(sound))} false alarms. {len(faults)} planted faults."
    )


def write_page() -> None:
    """The table, the sentence above it, and the plot, from the two records."""
    sound, faults = read(SOUND), read(FAULTS)
    found = clouds(sound, faults)
    page = PAGE.read_text(encoding="utf-8")
    page = replace(page, "random cases", f"{summary(sound, faults)}\n\n{distances_table(found)}")
    write_atomically(PAGE, page.encode())
    write_atomically(PLOT, plot(found).encode())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.distances", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, metavar="N", help="sound cases that the record shall hold")
    parser.add_argument("--check", type=int, metavar="CASE", help="check one case, print the verdict, write nothing")
    chosen = parser.parse_args()
    if chosen.check is not None:
        one = case(chosen.check)
        print(f"seed {one.seed}, {one.spec.model_dump_json(exclude_none=True)}\n{one.check()}")
        return 0
    collect(SOUND, chosen.cases)
    write_page()
    found = alarms(read(SOUND))
    print(*found, sep="\n", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
