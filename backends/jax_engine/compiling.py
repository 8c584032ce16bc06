"""Compilation ahead of time, so that what is timed is one program, known, and compiled before its first call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax

from ..contract import CompileReport
from .precision import effective
from .tunings import Tuning

FEW_FLOPS = 60_000_000
"""A program of fewer FLOPs, forward and backward, has been run a few times before LLVM has optimised it for a CPU.

Measured in float64 (CPU-seconds, jaxlib 0.10.2): the programs of a check of `unet_bn_same` compile in 16 s at level 0
and in 36 s at level 3, XLA's own; but at level 0 each GFLOP then takes about 25 s in place of 1. At level 1 the
gradients of `mlperf_unet3d` compile in 15 s in place of 25 s and run as fast.
"""

FUSION_EMITTERS = "xla_cpu_use_fusion_emitters"
"""Without what XLA fuses loops with, the gradients of `unet_bn_same` compile in 4.5 CPU-seconds in place of 9.6."""


def for_few_runs(function: Callable[..., Any], flops: int) -> Callable[..., Any]:
    """Jitted for a check, which runs a program a few times and never times it."""
    options: dict[str, bool | int] = {"xla_backend_optimization_level": 0 if flops < FEW_FLOPS else 1}
    if knows(FUSION_EMITTERS):
        options[FUSION_EMITTERS] = False
    return jax.jit(function, compiler_options=options)


@cache
def knows(option: str) -> bool:
    """Whether this release of XLA has a switch of this name; they come and go."""
    try:
        jax.jit(lambda x: x, compiler_options={option: False})(0.0)
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Compiler:
    """Compiles functions as a tuning says, and keeps count.

    Attributes:
        report: of all that was compiled here.
        precision: of the products of the last program.
    """

    def __init__(self, tuning: Tuning):
        self.tuning = tuning
        self.report = CompileReport()
        self.precision = ""
        self._programs: dict[Any, Any] = {}

    def __call__(self, function: Callable[..., Any], *arguments: Any, donate_argnums: tuple[int, ...] = ()) -> Any:
        """The function for arguments of these shapes and places; as it is where the tuning does not compile."""
        leaves, structure = jax.tree.flatten(arguments)
        key = function, donate_argnums, structure, tuple((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves)
        if key not in self._programs:
            self._programs[key] = self._compile(function, arguments, donate_argnums)
        return self._programs[key]

    def _compile(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], donate_argnums: tuple[int, ...]
    ) -> Any:
        before = time.perf_counter()
        traced = jax.jit(function, donate_argnums=donate_argnums).trace(*arguments)
        self.precision = effective(traced.jaxpr.jaxpr)
        if not self.tuning.jit:
            return function
        lowered = traced.lower()
        between = time.perf_counter()
        program = lowered.compile()
        after = time.perf_counter()
        self.report = replace(
            self.report,
            trace_s=self.report.trace_s + between - before,
            compile_s=self.report.compile_s + after - between,
            compilations=self.report.compilations + 1,
        )
        return program
