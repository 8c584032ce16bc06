"""Copying all weights of `unet_bn_same`, full width, from one framework to the other: shall take under 0.5 s."""

from __future__ import annotations

from typing import Any

import pytest

import backends

from . import options
from .measure import worker_clock
from .process import WorkerProcess

SPEC, ROUNDS = "unet_bn_same", 5


@pytest.mark.benchmark(timer=worker_clock, group="copy_weights")
@pytest.mark.parametrize(("source", "target"), [("pytorch", "flax_nnx"), ("flax_nnx", "pytorch")])
def test_copy_weights(source: str, target: str, benchmark: Any, request: pytest.FixtureRequest) -> None:
    for name in (source, target):
        reason = backends.missing(name)
        if reason:
            pytest.skip(reason)
    chosen = options.read(request.config)
    narrow = chosen.narrow or 1
    extra_peak_bytes: list[int | None] = []
    with WorkerProcess(chosen.time_limit_s, module="benchmarks.copy_weights") as worker:
        started = worker.ask("start", spec=SPEC, narrow=narrow, source=source, target=target)

        def one_round() -> None:
            window = worker.ask("window")
            worker_clock.advance(window["seconds"])
            extra_peak_bytes.append(window["extra_peak_bytes"])

        benchmark.pedantic(one_round, rounds=ROUNDS)
        benchmark.extra_info |= started | {"spec": SPEC, "narrow": narrow, "extra_peak_bytes": extra_peak_bytes}
        assert worker.ask("finish")["equal"]
