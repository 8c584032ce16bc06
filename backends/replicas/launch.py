"""Run a module as `python -m` does, but dying with the parent: `python -m backends.replicas.launch MODULE ...`."""

from __future__ import annotations

import runpy
import sys

from ..processes import die_with_parent


def main() -> None:
    die_with_parent()
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
