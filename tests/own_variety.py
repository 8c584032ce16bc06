"""Habits of people who write U-Nets, each in the smallest network that has it; imported where a test needs it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """Image to image: a stride from the first convolution on, no block in the decoder, activations before the ups."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.d3 = (nn.Conv2d(a, b, 4, 2, 1, bias=a == 3) for a, b in ((3, 4), (4, 8), (8, 8)))
        self.u3, self.u2, self.u1 = (nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((8, 8), (16, 4), (8, 3)))
        self.n2, self.m3, self.m2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        top = F.leaky_relu(self.d1(x), 0.2)
        middle = F.leaky_relu(self.n2(self.d2(top)), 0.2)
        x = self.drop(self.m3(self.u3(F.relu(self.d3(middle)))))
        x = self.m2(self.u2(F.relu(torch.cat([x, middle], 1))))
        return torch.tanh(self.u1(F.relu(torch.cat([x, top], 1))))


class TwoLevels(nn.Module):
    """Two levels of two convolutions, with one habit, by name."""

    enter: nn.Sequential
    bottom: nn.Sequential
    join: nn.Sequential

    def __init__(self, habit: str = ""):
        super().__init__()
        self.habit = habit
        parts = {"enter": (3, 4), "bottom": (4, 8), "join": (8, 4)}
        for name in reversed(parts) if habit == "decoder made first" else parts:
            before, after = parts[name]
            block = nn.Sequential(*unit(before, after), *unit(after, after))
            setattr(self, name, block[:-1] if habit == "bare ends" else block)
        thin, nothing = nn.Conv2d(8, 4, 1), nn.Identity()
        self.before, self.after = (thin, nothing) if habit == "thin before up" else (nothing, thin)
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1))
        if habit == "head like a unit":
            self.head.append(nn.ReLU())
        if habit == "norm after head":
            self.head.extend([nn.ReLU(), nn.BatchNorm2d(2)])

    def forward(self, x: Tensor) -> Tensor:
        habit = self.habit
        if habit == "square" and x.shape[2] != x.shape[3]:
            raise ValueError("I crop by the height alone")
        if habit == "adds places":
            x = torch.cat([x, torch.ones_like(x), torch.zeros_like(x)], 1)
        early = self.enter[:2](x)
        top = self.enter[2:](early)
        low = F.max_pool2d(top, 2)
        low = low if habit != "one block for two" else self.enter[2:](low)
        x = self.after(F.interpolate(self.before(self.bottom(low)), scale_factor=2, mode="bilinear"))
        if habit == "smooth resize" and x.shape != top.shape:
            x = F.interpolate(x, size=top.shape[2:], mode="bilinear", antialias=True)
        skips = {"skip of a half block": early, "late skip": F.interpolate(low, size=x.shape[2:], mode="bilinear")}
        logits = self.head(self.join(torch.cat([skips.get(habit, top), x], 1)))
        return F.interpolate(logits, scale_factor=2) if habit == "enlarged" else logits


def unit(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]


class Gated(nn.Module):
    """Two levels with an attention gate on the skip, after Oktay et al., with an inner map of `inner` channels."""

    def __init__(self, inner: int = 2) -> None:
        super().__init__()
        self.enter, self.bottom = nn.Sequential(*unit(3, 4)), nn.Sequential(*unit(4, 4))
        self.join, self.head = nn.Sequential(*unit(8, 4)), nn.Conv2d(4, 2, 1)
        self.of_gate, self.of_skip = (nn.Sequential(nn.Conv2d(4, inner, 1), nn.BatchNorm2d(inner)) for _ in range(2))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enter(x)
        x = F.interpolate(self.bottom(F.max_pool2d(skip, 2)), scale_factor=2)
        gate = self.psi(F.relu(self.of_gate(x) + self.of_skip(skip)))
        return self.head(self.join(torch.cat([skip * gate, x], 1)))


class Nested(nn.Module):
    """Three levels with an inner node, as U-Net++; or `forgets` the former map of the level where it should read it."""

    def __init__(self, forgets: bool = False) -> None:
        super().__init__()
        self.forgets = forgets
        widths = {"x00": (3, 4), "x10": (4, 4), "x20": (4, 4), "x01": (8, 4), "x11": (8, 4), "x02": (12, 4)}
        self.nodes = nn.ModuleDict({name: nn.Sequential(*unit(*width)) for name, width in widths.items()})
        self.head = nn.Conv2d(4, 2, 1)

    def up(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        n = self.nodes
        x00 = n["x00"](x)
        x10 = n["x10"](F.max_pool2d(x00, 2))
        x01 = n["x01"](torch.cat([x00, self.up(x10)], 1))
        x11 = n["x11"](torch.cat([x10, self.up(n["x20"](F.max_pool2d(x10, 2)))], 1))
        inner = x00 if self.forgets else x01
        return self.head(n["x02"](torch.cat([x00, inner, self.up(x11)], 1)))
