"""`python -m tandem.trial BACKEND`: what of a backend works, tried in this process, for `tandem doctor`.

A framework that crashes takes this process with it and no more; what was found before is written already.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

import backends
from backends import Backend, Execution
from shared_specs import TandemError, UNetSpec, load_spec
from shared_specs.errors import one_line
from shared_specs.shapes import output_shape

SPEC, WIDTHS, SIDE = "unet_bn_same", (4, 8), 16
"""A network with a layer of every common kind, at so few levels that it is quick to compile."""

ORDER = ("float32", "float64", "bfloat16", "tf32")
"""The precisions most in use first, should there be no time for all."""


def main(name: str, done: Sequence[str], answers: TextIO) -> None:
    """Try every precision on a CPU and on the first GPU, and write a JSON line before and after each.

    Args:
        done: what was tried before, as "DEVICE/PRECISION".
    """

    def say(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        backend = backends.get(name)
        planned = executions(backend)
        can = {name: getattr(backend.capabilities, name) for name in ("tunings", "phases", "note")}
        say(versions=backend.versions(), devices=backend.devices(), planned=planned, **can)
        spec = tiny()
        for device, precision in planned:
            if f"{device}/{precision}" not in done:
                say(trying={"device": device, "precision": precision})
                say(tried={"device": device, "precision": precision, **attempt(backend, spec, device, precision)})
    except Exception as error:  # a broken framework may raise anything, in any of these
        say(problem=in_words(error))


def tiny() -> UNetSpec:
    """The network that is tried."""
    return UNetSpec.model_validate(load_spec(SPEC).model_dump() | {"name": "tiny", "widths": WIDTHS})


def executions(backend: Backend) -> list[tuple[str, str]]:
    """Each device with each precision that it could have there."""
    gpu = [device for device in backend.devices() if device != "cpu"][:1]
    return [
        (device, precision)
        for device in [*gpu, "cpu"]
        for precision in sorted(backend.capabilities.precisions, key=_place)
        if (device, precision) != ("cpu", "tf32")
    ]


def _place(precision: str) -> int:
    return ORDER.index(precision) if precision in ORDER else len(ORDER)


def attempt(backend: Backend, spec: UNetSpec, device: str, precision: str) -> dict[str, Any]:
    """Build and run the network once."""
    started_at = time.monotonic()
    try:
        problem = _run(backend, spec, Execution(device, precision))
    except Exception as error:  # whatever it is, it is what the user has to know
        problem = in_words(error)
    return {"works": not problem, "problem": problem, "seconds": time.monotonic() - started_at}


def _run(backend: Backend, spec: UNetSpec, execution: Execution) -> str:
    """What is wrong with the logits, or ""."""
    images = np.random.default_rng(0).normal(size=(1, spec.in_channels, *[SIDE] * spec.dimensions))
    model = backend.build(spec, execution)
    logits = model.forward(images)
    if logits.shape != output_shape(spec, images.shape):
        return f"gave logits of shape {logits.shape}"
    if not np.isfinite(logits).all():
        return "gave logits that are not finite"
    effective = model.effective_precision()
    return "" if effective == execution.precision else f"computes in {effective}"


def in_words(error: Exception) -> str:
    """An exception in one line."""
    said = one_line(str(error))
    return said if isinstance(error, TandemError) else f"{type(error).__name__}: {said}"[:300]


if __name__ == "__main__":
    # A framework may print to stdout; the answers go where stdout was.
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        main(sys.argv[1], sys.argv[2:], channel)
