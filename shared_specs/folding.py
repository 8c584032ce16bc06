"""Batch norm folded into the convolution before it: the same function in evaluation mode, with fewer layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .schema import UNetSpec
from .weights import Weights


def can_fold(spec: UNetSpec) -> bool:
    """Whether every norm is a batch norm that directly follows a convolution of a block.

    Blocks with overrides or shortcuts, gated skips and units around the up-sampling are left as they are.
    """
    plain = not (spec.override or spec.residual or spec.attention or spec.up.before or spec.up.after)
    plain = plain and (spec.head is None or spec.head.norm is None)
    return plain and spec.norm.kind == "batch" and ("conv", "norm") in pairwise(spec.block.order)


def without_norm(spec: UNetSpec) -> UNetSpec:
    """The network that folding makes of this one; itself where it cannot be folded."""
    if not can_fold(spec):
        return spec
    values = spec.model_dump()
    values["norm"] = {"kind": "none"}
    values["conv"]["bias"] = True
    values["block"]["order"] = [step for step in spec.block.order if step != "norm"]
    return UNetSpec.model_validate(values)


def fold_norm(spec: UNetSpec, weights: Weights) -> tuple[UNetSpec, dict[str, np.ndarray]]:
    """The network without norm, and its weights (Jacob et al. 2018, arXiv 1712.05877, section 3.2).

    With s = gamma / sqrt(running_var + epsilon), a convolution has w' = w s and b' = (b - running_mean) s + beta.
    A network that cannot be folded is returned as it is.
    """
    if not can_fold(spec):
        return spec, dict(weights)
    assert spec.norm.kind == "batch"
    folded = without_norm(spec)
    chosen: dict[str, np.ndarray] = {}
    for tensor in folded.tensors:
        unit, _, leaf = tensor.name.rpartition(".conv.")
        if not unit:
            chosen[tensor.name] = np.asarray(weights[tensor.name])
            continue
        norm = {name: np.asarray(weights[f"{unit}.norm.{name}"], np.float64) for name in NORM}
        scale = norm["weight"] / np.sqrt(norm["running_var"] + spec.norm.epsilon)
        if leaf == "weight":
            weight = np.asarray(weights[tensor.name])
            by_output = scale.reshape(len(scale), *[1] * (weight.ndim - 1))
            chosen[tensor.name] = (weight * by_output).astype(weight.dtype)
        else:
            bias = np.asarray(weights[tensor.name]) if spec.conv.bias else np.zeros(tensor.shape)
            dtype = np.asarray(weights[f"{unit}.conv.weight"]).dtype
            chosen[tensor.name] = ((bias - norm["running_mean"]) * scale + norm["bias"]).astype(dtype)
    return folded, chosen


NORM = ("weight", "bias", "running_mean", "running_var")
