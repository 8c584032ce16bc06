"""What PyTorch's functions within a block compute, in the words of the spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from .call import Call, Size, by_axis, unsaid


def conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Call:
    kernel = tuple(weight.shape[2:])
    axes, dilation = len(kernel), by_axis(dilation, len(kernel))
    if isinstance(padding, str):
        reach = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        if any(rows % 2 for rows in reach):
            return unsaid(f"conv{axes}d with padding 'same' of an even kernel", input)  # more rows after than before
        padding = [rows // 2 for rows in reach]
    settings = {
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "kernel": kernel,
        "stride": by_axis(stride, axes),
        "padding": by_axis(padding, axes),
        "padding_mode": "zeros",
        "dilation": dilation,
        "groups": groups,
        "bias": bias is not None,
    }
    return Call("conv", [input], settings, {"weight": weight, "bias": bias})


def transposed_conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Call:
    axes = weight.ndim - 2
    settings = {
        "in_channels": weight.shape[0],
        "out_channels": weight.shape[1] * groups,
        "kernel": tuple(weight.shape[2:]),
        "stride": by_axis(stride, axes),
        "padding": by_axis(padding, axes),
        "output_padding": by_axis(output_padding, axes),
        "dilation": by_axis(dilation, axes),
        "groups": groups,
        "bias": bias is not None,
    }
    return Call("transposed_conv", [input], settings, {"weight": weight, "bias": bias})


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    settings = {
        "epsilon": eps,
        "momentum": momentum,
        "affine": weight is not None,
        "running_statistics": running_mean is not None,
    }
    tensors = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    return Call("batch_norm", [input], settings, tensors)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Call:
    settings = {"epsilon": eps, "affine": weight is not None, "running_statistics": running_mean is not None}
    return Call("instance_norm", [input], settings, {"weight": weight, "bias": bias})


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    settings = {"groups": num_groups, "channels": input.shape[1], "epsilon": eps, "affine": weight is not None}
    return Call("group_norm", [input], settings, {"weight": weight, "bias": bias})


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Call:
    if len(normalized_shape) != 1:
        return unsaid(f"layer_norm over {len(normalized_shape)} axes", input)
    settings = {"epsilon": eps, "affine": weight is not None}
    return Call("layer_norm", [input], settings, {"weight": weight, "bias": bias})


def without_settings(kind: str) -> Callable[..., Call]:
    return lambda input, inplace=False: Call(kind, [input])


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Call:
    return Call("leaky_relu", [input], {"slope": float(negative_slope)})


def prelu(input: Tensor, weight: Tensor) -> Call:
    slopes = "one" if weight.numel() == 1 else "per_channel"
    return Call("prelu", [input], {"slopes": slopes}, {"weight": weight})


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Call:
    return Call("elu", [input], {"alpha": float(alpha)})


def gelu(input: Tensor, approximate: str = "none") -> Call:
    return Call("gelu", [input], {"approximation": approximate})


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return Call("dropout" if p else "identity", [input], {"rate": p, "whole_channels": False, "training": training})


def channel_dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return Call("dropout" if p else "identity", [input], {"rate": p, "whole_channels": True, "training": training})
