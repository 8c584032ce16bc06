"""What compilers did for a model, and the work that shows what a device can reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class CompileReport:
    """What compilers did for a model so far: seconds and counts.

    Attributes:
        trace_s: from Python to the compiler's own form.
        compile_s: from there to machine code.
        compilations: how many programs were compiled; what is added while steps are timed is recompilation.
        graph_breaks: where the compiler had to leave a step to Python.
    """

    trace_s: float = 0.0
    compile_s: float = 0.0
    compilations: int = 0
    graph_breaks: int = 0


@dataclass(frozen=True)
class LoadSizes:
    """How large the work is that shows what a device can reach.

    Attributes:
        matrix: n of the product of two matrices (n, n).
        maps: (N, C, H) of a 3x3 convolution from (N, C, H, H) to the same shape.
        copied_bytes: of the array that is copied.
    """

    matrix: int
    maps: tuple[int, int, int]
    copied_bytes: int

    @property
    def matrix_flops(self) -> int:
        return 2 * self.matrix**3

    @property
    def convolution_flops(self) -> int:
        batch, channels, side = self.maps
        return 2 * batch * side**2 * 9 * channels**2


@dataclass(frozen=True)
class Load:
    """Such work: `run` does it once and waits for it."""

    name: str
    run: Callable[[], None]
    flops: int = 0
    bytes_moved: int = 0
