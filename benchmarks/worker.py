"""The process that times one cell: `python -m benchmarks.worker`, a fresh one for every cell and replicate.

It answers JSON lines, in this order: `start` (the cell) builds and compiles and gives the program's fingerprint;
`warm_up`; `watched_window` and `steps`, as often as asked; `finish`. All times are its own, in seconds of
`time.perf_counter`, so that what the pipe costs is in none of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backends.contract import Backend, Model
from shared_specs import initial_weights

from . import contestants, fingerprint, introspection, protocol
from .cell import Cell
from .gpu_telemetry import GpuTelemetry, telemetry

STABLE = 1.05
"""Warm-up ends when the slowest of the last three windows took at most this times the fastest."""


class Worker:
    """One program and what was seen of it."""

    def start(self, cell: dict[str, Any], spawned_at: float) -> protocol.Answer:
        """Build, compile and call the program for the first time; give its fingerprint.

        Args:
            cell: as JSON.
            spawned_at: the parent's `time.monotonic` just before it started this process, in seconds.
        """
        started_s = time.monotonic() - spawned_at
        self.cell = Cell.model_validate(cell)
        self.telemetry = self._telemetry()
        spec, images_and_labels = self.cell.network, self._batch()
        weights = initial_weights(spec, self.cell.seed)

        clock = Stopwatch()
        backend = self._backend()
        # Of a plugin that declares nothing, it is known only now.
        if lacking := contestants.lacks(backend.capabilities, self.cell.execution, self.cell.phase):
            raise protocol.Unsupported(lacking)
        versions = backend.versions()
        import_s = clock.lap()
        memory_after_import_bytes = introspection.memory_bytes()
        clock.lap()
        model = self._build(backend)
        model.load_weights(weights)
        build_s = clock.lap()
        self.step = model.program(self.cell.phase, *images_and_labels)
        program_s = clock.lap()
        self.model = model
        first_outputs = self.step()
        self.wait([awaited(first_outputs)])
        first_call_s = clock.lap()
        compiled = model.compile_report()

        quantities = fingerprint.take(model, self.step, self.cell.phase, first_outputs)
        self.compilations = model.compile_report().compilations  # a second step may have brought another program
        return {
            "fingerprint": {name: values.tolist() for name, values in quantities.items()},
            "startup": {
                "start_s": started_s,
                "import_s": import_s,
                "build_s": build_s,
                "program_s": program_s,
                "first_call_s": first_call_s,
                "trace_s": compiled.trace_s,
                "compile_s": compiled.compile_s,
            },
            "compilations": compiled.compilations,
            "graph_breaks": compiled.graph_breaks,
            "effective_precision": model.effective_precision(),
            "knobs": backend.knobs(self.cell.execution),
            "description": "" if model.has_canonical_weights else getattr(model, "describe", str)(),
            "versions": versions | introspection.loaded_versions(),
            "flags": introspection.flags() | model.flags(),
            "environment": introspection.environment(),
            "memory_after_import_bytes": memory_after_import_bytes,
        }

    def _telemetry(self) -> GpuTelemetry | None:
        return telemetry(self.cell.device)

    def _batch(self) -> tuple[np.ndarray, np.ndarray]:
        return self.cell.batch_arrays()

    def _backend(self) -> Backend:
        if self.cell.cores is not None:
            introspection.keep_to_cores(self.cell.cores)
        return contestants.get(self.cell.backend)

    def _build(self, backend: Backend) -> Model:
        return backend.build(self.cell.network, self.cell.execution, self.cell.recipe)

    def warm_up(self, window_s: float, limit_s: float) -> protocol.Answer:
        """Run windows until their times have settled: see `settle`."""
        return settle(lambda steps: self.window(steps)["seconds"], window_s, limit_s)

    def window(self, steps: int) -> protocol.Answer:
        """Time `steps` steps, enqueued one after the other, with one synchronisation at the end."""
        step, enqueued, start = self.step, [], time.perf_counter()
        for _ in range(steps):
            enqueued.append(awaited(step()))
        self.wait(enqueued)
        return {"seconds": time.perf_counter() - start, "steps": steps}

    def watched_window(self, steps: int) -> protocol.Answer:
        """The same, with what the GPU says of itself before and after; nothing is asked within the time."""
        if self.telemetry is None:
            return self.window(steps)
        before = self.telemetry.read()
        timed = self.window(steps)
        return timed | {"gpu": self.telemetry.between(before, self.telemetry.read()).model_dump()}

    def wait(self, enqueued: list[list[Any]]) -> None:
        """Wait for every step, not for the last one alone.

        JAX returns before it has computed, and on a CPU may compute independent steps side by side: that the last
        one is ready says nothing of the others, and only the arrays know. The outputs of one step, a compiled
        program, become ready together; the gradients beside a loss are covered by it.
        """
        for values in enqueued:
            for value in values:
                value.block_until_ready()
        self.model.synchronize()

    def steps(self, steps: int) -> protocol.Answer:
        """Time each of `steps` steps by itself, with a synchronisation after each."""
        return {"latencies_s": [self.window(1)["seconds"] for _ in range(steps)]}

    def finish(self) -> protocol.Answer:
        """What is known only after the work: peak memory, threads, and whether the numbers are still finite."""
        last = self.step()
        outputs = self.model.fetch(last)
        again = {}
        if self.cell.phase != "train_step":  # whose weights have moved on
            again = fingerprint.take(self.model, self.step, self.cell.phase, last)
        return {
            "fingerprint": {name: values.tolist() for name, values in again.items()},
            "peak_memory_bytes": introspection.peak_memory_bytes(),
            "peak_device_memory_bytes": introspection.peak_device_memory_bytes(self.model.execution.device),
            "threads": introspection.threads(),
            "recompilations": self.model.compile_report().compilations - self.compilations,
            "finite_at_end": all(math.isfinite(float(abs(values).sum())) for values in outputs.values()),
        }

    def handlers(self) -> dict[str, Callable[..., protocol.Answer]]:
        return {name: getattr(self, name) for name in ("start", "warm_up", "watched_window", "steps", "finish")}


def settle(window: Callable[[int], float], window_s: float, limit_s: float) -> protocol.Answer:
    """Run windows of about `window_s` until three in a row agree, or for `limit_s`.

    Args:
        window: takes so many steps, and gives the seconds.

    Returns:
        How many steps and seconds it took, whether it became stable, and the seconds a step then took.
    """
    times: list[float] = []
    total_s, steps, count, stable = 0.0, 0, 1, False
    while not stable and total_s < limit_s:
        seconds = window(count)
        times.append(seconds / count)
        total_s, steps = total_s + seconds, steps + count
        stable = len(times) >= 3 and max(times[-3:]) <= STABLE * min(times[-3:])
        count = max(1, math.ceil(window_s / times[-1]))
    return {"steps": steps, "seconds": total_s, "stable": stable, "step_s": min(times[-3:])}


def awaited(outputs: Mapping[str, Any]) -> list[Any]:
    """What must be kept of a step to wait for it: nothing for PyTorch, whose allocator then uses the memory again.

    Never the gradients: keeping those of every step would take memory for all.
    """
    return [value for name, value in outputs.items() if name != "gradients" and hasattr(value, "block_until_ready")]


class Stopwatch:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def main() -> None:
    protocol.die_with_parent()
    answers = protocol.claim_stdout()
    protocol.serve(Worker().handlers(), answers)


if __name__ == "__main__":
    main()
