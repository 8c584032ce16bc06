"""The process that times copies of weights from one framework to another: `python -m benchmarks.copy_weights`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import backends
from backends.contract import copy_weights
from shared_specs import load_spec

from . import introspection, protocol


class CopyWorker:
    """Two models of one spec in two frameworks. Here they share a process, since what is timed goes between them."""

    def start(self, spec: str, narrow: int, source: str, target: str) -> protocol.Answer:
        """Build both, and copy once for what a first time costs.

        Returns:
            The parameters' size in float32, in bytes.
        """
        network = load_spec(spec).narrow(narrow)
        self.source, self.target = (backends.get(name).build(network) for name in (source, target))
        self.window()
        return {"weights_bytes": 4 * sum(tensor.size for tensor in network.tensors)}

    def window(self) -> protocol.Answer:
        """Copy all weights once.

        Returns:
            Seconds, and by how many bytes the peak of resident memory rose above where it stood before; None where
            the system cannot reset its peak.
        """
        before = introspection.memory_bytes()
        was_reset = reset_peak()
        start = time.perf_counter()
        copy_weights(self.source, self.target)
        self.target.synchronize()
        seconds = time.perf_counter() - start
        extra = introspection.peak_memory_bytes() - before if was_reset else None
        return {"seconds": seconds, "extra_peak_bytes": extra}

    def finish(self) -> protocol.Answer:
        """Whether what arrived is what was sent, to the last bit."""
        sent, arrived = self.source.weights(), self.target.weights()
        return {"equal": all((sent[name] == arrived[name]).all() for name in sent)}

    def handlers(self) -> dict[str, Any]:
        return {"start": self.start, "window": self.window, "finish": self.finish}


def reset_peak() -> bool:
    """Let VmHWM start again from the present size (proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def main() -> None:
    protocol.die_with_parent()
    answers = protocol.claim_stdout()
    protocol.serve(CopyWorker().handlers(), answers)


if __name__ == "__main__":
    main()
