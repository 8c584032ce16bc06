"""Converting a checkpoint of `unet_bn_same`, full width, 31 M parameters: shall take under 2 s and two copies of it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

import backends
from backends.checkpoints import BACKENDS, FORMATS

from . import options
from .measure import worker_clock
from .process import WorkerProcess

SPEC, ROUNDS = "unet_bn_same", 5


@pytest.mark.benchmark(timer=worker_clock, group="convert_checkpoint")
@pytest.mark.parametrize(("source", "target"), list(permutations(FORMATS, 2)))
def test_convert_checkpoint(source: str, target: str, benchmark: Any, request: pytest.FixtureRequest) -> None:
    for name in (source, target):
        reason = backends.missing(BACKENDS[name])
        if reason:
            pytest.skip(reason)
    chosen = options.read(request.config)
    narrow = chosen.narrow or 1
    windows: dict[str, list[float | None]] = {"processor_seconds": [], "extra_peak_bytes": []}
    with WorkerProcess(chosen.time_limit_s, module="benchmarks.convert_checkpoint") as worker:
        started = worker.ask("start", spec=SPEC, narrow=narrow, source=source, target=target)

        def one_round() -> None:
            window = worker.ask("window")
            worker_clock.advance(window["seconds"])
            for name, values in windows.items():
                values.append(window[name])

        benchmark.pedantic(one_round, rounds=ROUNDS)
        benchmark.extra_info |= started | {"spec": SPEC, "narrow": narrow, **windows}
        assert worker.ask("finish")["equal"]
