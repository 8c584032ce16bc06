"""torch.compile as the tunings use it, and what it says of its work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch._dynamo.utils import calculate_time_spent, counters
from torch._inductor import config as inductor_config

from ..contract import CompileReport
from .tunings import Tuning

Function = TypeVar("Function", bound=Callable)


def compiled(function: Function, tuning: Tuning, fullgraph: bool = True) -> Function:
    """The function compiled for one shape. `fullgraph` refuses to split it into several graphs."""
    # Dynamo keeps its programs by code object, at most eight of them, so that other models would use up the room.
    torch.compiler.reset()
    return torch.compile(function, fullgraph=fullgraph, dynamic=False, mode=tuning.mode)  # pyright: ignore[reportReturnType]


def compiled_for_inference(
    module: torch.nn.Module, tuning: Tuning, inputs: torch.Tensor
) -> Callable[..., torch.Tensor]:
    """The module compiled with its weights as constants, where the tuning says so; it shall not see them change."""
    program = compiled(module, tuning)
    freeze = tuning.freeze and inputs.dtype != torch.float64  # oneDNN packs no float64
    # Dynamo reads this setting itself, so that it cannot be given to torch.compile as an option.
    with inductor_config.patch(freezing=freeze), torch.no_grad():
        program(inputs)
    return program


def compile_report() -> CompileReport:
    """What this process has compiled so far, in all models."""
    spent = calculate_time_spent()
    backend_s = spent.get("backend_compile", 0.0)
    return CompileReport(
        trace_s=max(0.0, spent.get("entire_frame_compile", 0.0) - backend_s),
        compile_s=backend_s + spent.get("entire_backward_compile", 0.0),
        compilations=counters["stats"]["unique_graphs"],
        graph_breaks=sum(counters["graph_break"].values()),
    )
