"""The process that times conversions of checkpoint files: `python -m benchmarks.convert_checkpoint`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from backends import checkpoints
from shared_specs import initial_weights, load_spec
from shared_specs.schemes import recognise

from . import introspection, protocol
from .copy_weights import reset_peak


def name_of(format_name: str) -> str:
    """What a checkpoint of this format is called: a folder has no suffix."""
    return "weights" + next(iter(checkpoints.SUFFIXES.get(format_name, ())), "")


class ConvertWorker:
    """Reads one file and writes another, as `tandem convert --no-check` does."""

    def start(self, spec: str, narrow: int, source: str, target: str) -> protocol.Answer:
        """Write a checkpoint to convert, import what both formats need, and convert once for what a first time costs.

        Returns:
            The checkpoint's size, in bytes.
        """
        self.spec = load_spec(spec).narrow(narrow)
        self.folder = tempfile.TemporaryDirectory()
        self.source, self.target = checkpoints.get(source), checkpoints.get(target)
        self.source_path = Path(self.folder.name) / "in" / name_of(source)
        self.target_path = Path(self.folder.name) / "out" / name_of(target)
        for path in (self.source_path, self.target_path):
            path.parent.mkdir()
        self.weights = initial_weights(self.spec, dtype=np.float32)
        self.source.write(self.source_path, self.spec, self.weights)
        self.window()
        return {"weights_bytes": sum(values.nbytes for values in self.weights.values())}

    def window(self) -> protocol.Answer:
        """Convert once.

        Returns:
            Seconds, those of the processor, and by how many bytes the peak of resident memory rose above where it
            stood before; None where the system cannot reset its peak. Pages of a file that is mapped count.
        """
        before = introspection.memory_bytes()
        was_reset = reset_peak()
        start, processor_start = time.perf_counter(), time.process_time()
        tensors = self.source.read(self.source_path).tensors
        found = recognise(self.spec, tensors, self.source.to_canonical, str(self.source_path))
        self.target.write(self.target_path, self.spec, found.weights)
        seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
        extra = introspection.peak_memory_bytes() - before if was_reset else None
        return {"seconds": seconds, "processor_seconds": processor_seconds, "extra_peak_bytes": extra}

    def finish(self) -> protocol.Answer:
        """Whether what was written is what was read, to the last bit."""
        found = self.target.to_canonical(self.spec, self.target.read(self.target_path).tensors)
        equal = all(found[name].tobytes() == values.tobytes() for name, values in self.weights.items())
        self.folder.cleanup()
        return {"equal": equal and found.keys() == self.weights.keys()}

    def handlers(self) -> dict[str, Any]:
        return {"start": self.start, "window": self.window, "finish": self.finish}


def main() -> None:
    protocol.die_with_parent()
    answers = protocol.claim_stdout()
    protocol.serve(ConvertWorker().handlers(), answers)


if __name__ == "__main__":
    main()
