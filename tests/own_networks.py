"""U-Nets as people write them, with class and key names of their own. A test imports this where it needs it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backends.pytorch import UNet as Network
from tests.own_styles import Functional, Lists, Sequentials, Strided

__all__ = ["Functional", "Lists", "Sequentials", "Strided"]  # which are found here with the others


class Block(nn.Module):
    """Two convolutions with norm and activation, which a test may change in one thing."""

    def __init__(self, before: int, after: int, change: dict[str, Any]):
        super().__init__()
        conv = {"kernel_size": 3, "padding": 1} | change.get("conv", {})
        self.c1 = nn.Conv2d(before, after, **conv)
        self.n1 = change.get("norm", nn.BatchNorm2d)(after, **change.get("norm_settings", {}))
        self.c2 = nn.Conv2d(after, after, **conv)
        self.n2 = change.get("norm", nn.BatchNorm2d)(after, **change.get("norm_settings", {}))
        self.act = change.get("act", nn.LeakyReLU)(**change.get("act_settings", {}))
        self.extra = change.get("extra", nn.Identity)()
        self.act_first = change.get("act_first", False)
        self.drop = change.get("drop")
        self.convolutions = 1 if change.get("single") else 2

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in ((self.c1, self.n1), (self.c2, self.n2))[: self.convolutions]:
            x = norm(self.act(conv(x))) if self.act_first else self.act(norm(conv(x)))
        x = self.extra(x)
        return x if self.drop is None else F.dropout(x, 0.5, **self.drop)


class Changeable(nn.Module):
    """Three levels, bilinear up-sampling and a 1x1 convolution behind it; `change` is what differs from the spec."""

    def __init__(self, **change: Any):
        super().__init__()
        self.change = change
        self.enter, self.lower, self.bottom = (Block(a, b, change) for a, b in ((3, 4), (4, 8), (8, 12)))
        self.pool = change.get("pool", nn.MaxPool2d)(2, **change.get("pool_settings", {}))
        up = {"scale_factor": 2, "mode": "bilinear", "align_corners": True} | change.get("up", {})
        self.up = nn.Upsample(**up)
        self.thin1, self.thin0 = nn.Conv2d(12, 8, 1, bias=False), nn.Conv2d(8, 4, 1, bias=False)
        self.join1, self.join0 = Block(16, 8, change), Block(8, 4, change)
        self.out = nn.Conv2d(4, 2, 1)
        if change.get("tied"):
            self.join0.c2.weight = self.join0.c1.weight = nn.Parameter(torch.ones(4, 4, 3, 3))
            self.join0.c1 = nn.Conv2d(8, 4, 3, padding=1)
            self.enter.c2.weight = self.join0.c2.weight

    def merge(self, skip: Tensor, x: Tensor) -> Tensor:
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), **self.change.get("pad", {}))
        return skip + x if self.change.get("sum") else torch.cat((x, skip) if self.change.get("swap") else (skip, x), 1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.enter(x)
        middle = self.lower(self.pool(top))
        x = self.bottom(self.pool(middle))
        x = self.join1(self.merge(middle, self.thin1(self.up(x))))
        x = self.out(self.join0(self.merge(top, self.thin0(self.up(x)))))
        return x.softmax(1) if self.change.get("softmax") else x


class _Large(Sequentials):
    """A private class with more tensors that nobody uses than a key map lists."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.ModuleList(nn.Linear(2, 2) for _ in range(110))
        self.conv1.register_buffer("unused", torch.zeros(1))


class Sized(nn.Module):
    """Two levels, resized to 16 x 20 pixels whatever the images are; or by other settings of F.interpolate."""

    def __init__(self, **resize: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.c, self.head = nn.Conv2d(12, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.resize = resize or {"size": (16, 20)}

    def forward(self, x: Tensor) -> Tensor:
        skip = F.relu(self.a(x))
        x = F.interpolate(F.relu(self.b(F.max_pool2d(skip, 2))), **self.resize)
        return self.head(F.relu(self.c(torch.cat([skip, x], 1))))


class Auxiliary(Sequentials):
    """Returns one more map in training."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return (logits, 2 * logits) if self.training else logits


class Predicts(Sequentials):
    """Returns logits in training, and their sigmoid else."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if self.training else logits.sigmoid()


class HalfNamed(nn.Module):
    """A convolution of one's own, whose bias has another name."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.b = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.b)


class Braces(Sequentials):
    """A key with what a key map takes for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.outc = nn.Sequential(OrderedDict({"a{b}": self.outc}))


class Residual(nn.Module):
    """Blocks that add their input: no plain U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return F.relu(self.b(x)) + x


class BiasedNorm(nn.BatchNorm2d):
    """Batch norm that keeps the biased variance: a trace of inference cannot show it."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        moved = self.running_var.clone()  # autograd keeps what batch_norm is given
        output = F.batch_norm(input, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps)
        biased = input.detach().var((0, 2, 3), correction=0)
        self.running_var.mul_(1 - self.momentum).add_(self.momentum * biased)
        return output


class AllHeads(Network):
    """A network of the zoo that returns the heads of deep supervision too, as nnU-Net's do."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.heads(images)


class Pair(nn.Module):
    """Returns its logits and their softmax."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.inner(x)
        return logits, logits.softmax(1)


class Refuses(nn.Module):
    """Fails on every input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("I will not")


class ChangedInPlace(Changeable):
    """Changes the first map by a statement whose result nobody uses."""

    def __init__(self, statement: str):
        super().__init__()
        self.statement = statement
        self.enter.register_forward_hook(self.change_map)

    def change_map(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        exec(self.statement, {"a": output, "torch": torch})


class Timed(Sequentials):
    """Takes the time of a diffusion beside the images."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return super().forward(x)


def no_module() -> int:
    return 3


def raises() -> nn.Module:
    raise RuntimeError("no weights here")


present = Functional()
STYLES = {network.__name__: network for network in (Sequentials, Functional, Lists, Strided)}
