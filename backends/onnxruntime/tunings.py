"""How ONNX Runtime runs a graph: every tuning is one object that lists its knobs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..contract import Execution


@dataclass(frozen=True)
class Tuning:
    """The knobs that are turned. With none of them it is what a newcomer writes: `InferenceSession(graph)`.

    Attributes:
        graph_optimization: "all" is ONNX Runtime's own default: constants are folded, batch norm and activations are
            fused into convolutions, and on a CPU the maps lie in memory in blocks of channels. "none" runs the graph
            node by node as it was exported.
        thread_per_core: as many threads within an operation as there are usable cores. By default it is one for each
            physical core, of which a virtual machine may show half, and which a container's limits do not change.
        reuse_output: every step writes its logits to the same memory, and does not ask for some.
    """

    graph_optimization: str = "all"
    thread_per_core: bool = False
    reuse_output: bool = False

    @property
    def threads(self) -> int:
        """Within an operation; 0 leaves it to ONNX Runtime."""
        if not self.thread_per_core:
            return 0
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


TUNINGS = {
    "default": Tuning(),
    "tuned": Tuning(thread_per_core=True, reuse_output=True),
    "unoptimised": Tuning(graph_optimization="none"),
}
"""The same on every device."""

NAMES = tuple(TUNINGS)


def tuning_of(execution: Execution) -> Tuning:
    """The knobs of an execution's tuning."""
    return TUNINGS[execution.tuning]
