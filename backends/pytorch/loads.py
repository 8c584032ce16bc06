"""Work that shows what PyTorch can reach on a device: a matrix product, a convolution and a copy."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..contract import Execution, Load, LoadSizes
from .precision import arithmetic


def loads(execution: Execution, sizes: LoadSizes) -> list[Load]:
    kind = execution.device.partition(":")[0]
    dtype = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(execution.precision, torch.float32)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=execution.device).to(dtype)

    def timed(run: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def once() -> None:
            with arithmetic(execution), torch.inference_mode():
                run()
                if kind == "cuda":
                    torch.cuda.synchronize(execution.device)

        return once

    n, (batch, channels, side) = sizes.matrix, sizes.maps
    left, right = random(n, n), random(n, n)
    maps = random(batch, channels, side, side).to(memory_format=torch.channels_last)
    kernel = random(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    source = torch.ones(sizes.copied_bytes // dtype.itemsize, dtype=dtype, device=execution.device)
    target = torch.empty_like(source)
    return [
        Load("matrix product", timed(lambda: left @ right), flops=sizes.matrix_flops),
        Load("convolution", timed(lambda: F.conv2d(maps, kernel, padding=1)), flops=sizes.convolution_flops),
        Load("copy", timed(lambda: target.copy_(source)), bytes_moved=2 * sizes.copied_bytes),
    ]
