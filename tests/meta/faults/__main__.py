"""Plant every fault, judge it, and print what was caught: `python -m tests.meta.faults`.

With `--write` the tables of docs/parity.md and docs/data_parallel.md and the distances of the faults are written anew.
Ends with 1 where a mutant survives, where fewer than 95% are located, or where a sound build is taken for a mutant.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# Before the frameworks are loaded, in the processes that follow too. Each program runs a few times on a small map: what
# XLA would do for its speed takes longer than it does.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

from docs import distances
from docs.tables import replace
from shared_specs.files import write_atomically

from . import replicas, report
from .running import judged

DOCS = Path(__file__).parents[3] / "docs"
PAGE, PAGE_OF_REPLICAS = DOCS / "parity.md", DOCS / "data_parallel.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.meta.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tables of docs/parity.md anew")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    chosen = parser.parse_args()
    start = time.monotonic()
    mutants, sound = judged(chosen.processes)
    of_replicas = replicas.judged()
    tables = {
        "faults by subject": report.by_subject(mutants),
        "faults by probe": report.by_probe(mutants),
        "faults by backend": report.by_backend(mutants, sound),
        "faults by rule": report.by_rule(mutants, sound),
        "faults in all": report.summary(mutants, sound),
    }
    print("\n\n".join([*tables.values(), of_replicas.table]))
    print(*report.elsewhere(mutants), sep="\n")
    failures = report.failures(mutants, sound) + of_replicas.failures
    print(*failures, sep="\n", file=sys.stderr)
    print(f"{time.monotonic() - start:.0f} s in {chosen.processes} processes", file=sys.stderr)
    if chosen.write and not failures:
        page = PAGE.read_text(encoding="utf-8")
        for name, text in tables.items():
            page = replace(page, name, text)
        write_atomically(PAGE, page.encode())
        page = PAGE_OF_REPLICAS.read_text(encoding="utf-8")
        write_atomically(PAGE_OF_REPLICAS, replace(page, "faults of replicas", of_replicas.table).encode())
        distances.write_faults(report.distances(mutants))
        distances.write_page()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
