"""The U-Net that a newcomer to PyTorch would write, to be timed beside ours: same network, same weights, same work.

It is written as tutorials write it, with `DoubleConv`, `Down` and `Up`, and knows nothing of specs but the widths.
Below it, what the worker needs in order to feed it canonical weights and to prove that it is the same network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backends.contract import BackendError, Execution
from shared_specs import Recipe, UNetSpec
from shared_specs.weights import Weights, check_weights

from .eager_pytorch import EagerBackend, EagerModel


class DoubleConv(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, padding: int, batch_norm: bool):
        steps: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            steps.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=padding))
            if batch_norm:
                steps.append(nn.BatchNorm2d(out_channels))
            steps.append(nn.ReLU(inplace=True))
        super().__init__(*steps)


class Down(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, padding: int, batch_norm: bool):
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.conv = DoubleConv(in_channels, out_channels, padding, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pool(x))


class Up(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, padding: int, batch_norm: bool, pad: bool):
        super().__init__()
        self.pad = pad
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        self.conv = DoubleConv(in_channels, out_channels, padding, batch_norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        if self.pad:
            x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        else:
            top, left = int(round(rows / 2.0)), int(round(columns / 2.0))
            skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(
        self, in_channels: int, classes: int, widths: tuple[int, ...], padding: int, batch_norm: bool, pad: bool
    ):
        super().__init__()
        self.inc = DoubleConv(in_channels, widths[0], padding, batch_norm)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.downs = nn.ModuleList(Down(shallow, deep, padding, batch_norm) for shallow, deep in pairs)
        self.ups = nn.ModuleList(Up(deep, shallow, padding, batch_norm, pad) for shallow, deep in reversed(pairs))
        self.outc = nn.Conv2d(widths[0], classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inc(x)
        skips = [x]
        for down in self.downs:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.outc(x)


class HandwrittenPyTorch(EagerBackend):
    name = "handwritten_pytorch"

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> HandwrittenModel:
        self.check_execution(execution)
        return HandwrittenModel(spec, execution, recipe)


class HandwrittenModel(EagerModel):
    """What a worker asks for: weights in and out, and a program for each phase. The rest a newcomer has no need of."""

    def __init__(self, spec: UNetSpec, execution: Execution, recipe: Recipe):
        another = BackendError(f"{spec.name}: the hand-written module has no such network; time it with the zoo's")
        if spec.dimensions != 2 or not isinstance(spec.conv.padding, int):
            raise another
        module = UNet(
            spec.in_channels,
            spec.out_channels,
            spec.widths,
            spec.conv.padding,
            batch_norm=spec.norm.kind == "batch",
            pad=spec.merge.size_mismatch == "pad_upsampled",
        )
        only_timed = "the hand-written module is there to be timed; check `pytorch` for parity"
        super().__init__(module, spec, execution, recipe, "the hand-written module", only_timed)
        # In the order of definition the tensors are the canonical ones, in shape too, or this is another network.
        named = self.module.state_dict(keep_vars=True)
        state = {name: tensor for name, tensor in named.items() if not name.endswith("num_batches_tracked")}
        if [tuple(tensor.shape) for tensor in state.values()] != [tensor.shape for tensor in spec.tensors]:
            raise another
        self.tensors = dict(zip((tensor.name for tensor in spec.tensors), state.values(), strict=True))

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.spec, weights)
        with torch.no_grad():
            for name, held in self.tensors.items():
                held.copy_(torch.from_numpy(np.array(weights[name])))
        self.reset_optimizer()

    def read_tensor(self, name: str) -> np.ndarray:
        return self.tensors[name].detach().cpu().numpy().copy()

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        fetched = super().fetch(outputs)
        if "gradients" in outputs:
            named = ((name, tensor.grad) for name, tensor in self.tensors.items())
            fetched |= {f"gradient/{name}": grad.cpu().numpy() for name, grad in named if grad is not None}
        return fetched
