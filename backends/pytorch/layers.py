"""The layers of a block in PyTorch, one builder for each kind of the spec."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shared_specs.layout import Layer


def conv(layer: Layer) -> nn.Module:
    s = layer.settings
    kind = nn.Conv2d if len(s.kernel) == 2 else nn.Conv3d
    return kind(
        layer.in_channels,
        layer.out_channels,
        s.kernel,
        s.stride,
        s.padding,
        s.dilation,
        bias=s.bias,
        padding_mode=s.padding_mode,
    )


def batch_norm(layer: Layer) -> nn.Module:
    s = layer.settings
    kind = BatchNorm if s.running_variance == "unbiased" else BiasedBatchNorm
    return kind(layer.out_channels, eps=s.epsilon, momentum=s.momentum)


class BatchNorm(_BatchNorm):
    """nn.BatchNorm2d and nn.BatchNorm3d in one: they differ only in what they refuse."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Every number of spatial dimensions will do."""


class BiasedBatchNorm(BatchNorm):
    """Batch norm that keeps the biased variance of the batch, as Flax does; PyTorch has only the unbiased one."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_var is not None and self.momentum is not None
        # On a copy, since autograd keeps what batch_norm is given.
        moved = self.running_var.clone()
        output = F.batch_norm(input, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps)
        kept = self.running_var * (1 - self.momentum)
        count = input.numel() // input.shape[1]
        self.running_var.copy_(kept + (moved - kept) * ((count - 1) / count))
        return output


def instance_norm(layer: Layer) -> nn.Module:
    # As a group norm with a group for each channel: nn.InstanceNorm is another class for each number of dimensions.
    return nn.GroupNorm(layer.out_channels, layer.out_channels, layer.settings.epsilon, layer.settings.affine)


def group_norm(layer: Layer) -> nn.Module:
    return nn.GroupNorm(layer.settings.groups, layer.out_channels, layer.settings.epsilon)


def layer_norm(layer: Layer) -> nn.Module:
    return ChannelNorm(layer.out_channels, layer.settings.epsilon)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel; nn.LayerNorm takes them last.

    In the dtype of the parameters: of a bfloat16 map, PyTorch 2.13 on a CPU sums the gradients of weight and bias in
    bfloat16, which leaves terms out where they are a 256th of the sum.
    """

    def forward(self, input: Tensor) -> Tensor:
        wide = input.to(self.weight.dtype)
        return super().forward(wide.movedim(1, -1)).movedim(-1, 1).to(input.dtype)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Multiply(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


KINDS: dict[str, Callable[[Layer], nn.Module]] = {
    "conv": conv,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "relu": lambda layer: nn.ReLU(),
    "leaky_relu": lambda layer: nn.LeakyReLU(layer.settings.slope),
    "prelu": lambda layer: nn.PReLU(*layer.tensors[0].shape),
    "elu": lambda layer: nn.ELU(layer.settings.alpha),
    "gelu": lambda layer: nn.GELU(layer.settings.approximation),
    "silu": lambda layer: nn.SiLU(),
    "tanh": lambda layer: nn.Tanh(),
    "sigmoid": lambda layer: nn.Sigmoid(),
    "identity": lambda layer: nn.Identity(),
    "dropout": lambda layer: nn.Dropout(layer.settings.rate),
    "sum": lambda layer: Sum(),
    "multiply": lambda layer: Multiply(),
}
