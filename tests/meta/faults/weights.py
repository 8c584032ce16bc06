"""Faults in weights: on their way in, and in how a module holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .planting import Altered, Loaded, used

WEIGHT = "decoder.0.up.weight"
Weights = dict[str, np.ndarray]


def two_layers_swapped(weights: Weights) -> None:
    one, other = "encoder.0.block.1.conv.weight", "decoder.0.block.1.conv.weight"
    weights[one], weights[other] = weights[other], weights[one]


def two_channels_swapped(weights: Weights) -> None:
    values = weights["encoder.1.block.1.conv.weight"]
    values[[2, 5]] = values[[5, 2]]


def one_element(weights: Weights) -> None:
    weights[WEIGHT][3, 1, 0, 1] *= 1 + 1e-6


def transposed(weights: Weights) -> None:
    weights["encoder.0.block.1.conv.weight"] = weights["encoder.0.block.1.conv.weight"].swapaxes(0, 1).copy()


def flipped(weights: Weights) -> None:
    weights[WEIGHT] = weights[WEIGHT][:, :, ::-1, ::-1].copy()


def scale_for_shift(weights: Weights) -> None:
    one, other = "encoder.0.block.0.norm.weight", "encoder.0.block.0.norm.bias"
    weights[one], weights[other] = weights[other], weights[one]


def mean_for_variance(weights: Weights) -> None:
    one, other = "encoder.1.block.0.norm.running_mean", "encoder.1.block.0.norm.running_var"
    weights[one], weights[other] = weights[other], np.abs(weights[one])


def fresh_statistics(weights: Weights) -> None:
    for name in weights:
        if name.endswith("running_mean"):
            weights[name] = np.zeros_like(weights[name])
        if name.endswith("running_var"):
            weights[name] = np.ones_like(weights[name])


def bias_missing(weights: Weights) -> None:
    weights["head.bias"] = np.zeros_like(weights["head.bias"])


def in_float32(weights: Weights) -> None:
    weights.update({name: values.astype(np.float32).astype(np.float64) for name, values in weights.items()})


def parameter_too_many(model: Any) -> None:
    import torch

    model.module.register_parameter("temperature", torch.nn.Parameter(torch.ones(())))


def layer_shared(model: Any) -> None:
    model.module.decoder[0].block[1].conv = model.module.encoder[0].block[1].conv


def swapped_in_and_out(model: Any) -> None:
    """Two layers hold each other's weights, and read them back as if they did not."""
    load, read, given = model.load_weights, model.read_tensor, model.weights()
    other = {"encoder.0.block.1.conv.weight": "decoder.0.block.1.conv.weight"}
    other |= {there: here for here, there in other.items()}
    model.load_weights = lambda weights: load({name: weights[other.get(name, name)] for name in weights})
    model.read_tensor = lambda name: read(other.get(name, name))
    model.load_weights(given)


FAULTS = [
    Fault(
        "weights of two equal layers swapped",
        Loaded(two_layers_swapped),
        "structure",
        "encoder.0.block.1.conv.weight",
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "weights of two equal layers swapped when loaded and when read",
        Altered({"pytorch": swapped_in_and_out, "numpy_reference": swapped_in_and_out}),
        "activations",
        "encoder.0.block.1.conv",
        NUMPY + PYTORCH,
        because="the round trip is right",
    ),
    Fault("a pair of channels swapped", Loaded(two_channels_swapped), "structure", "encoder.1.block.1.conv.weight"),
    Fault("one element off by a millionth", Loaded(one_element), "structure", WEIGHT),
    Fault(
        "one element off by a millionth where it is used",
        used("encoder.1.block.1.conv.bias", lambda b: b * (1 + 1e-6)),
        "activations",
        "encoder.1.block.1.conv",
        NUMPY + PYTORCH,
    ),
    Fault("in and out of a kernel swapped", Loaded(transposed), "structure", "encoder.0.block.1.conv.weight", NUMPY),
    Fault("kernel flipped when it is loaded", Loaded(flipped), "structure", WEIGHT, PYTORCH + FLAX),
    Fault(
        "scale and shift of a norm swapped",
        Loaded(scale_for_shift),
        "structure",
        "encoder.0.block.0.norm.weight",
        NUMPY + PYTORCH,
    ),
    Fault(
        "running mean and variance swapped",
        Loaded(mean_for_variance),
        "structure",
        "encoder.1.block.0.norm.running_mean",
        PYTORCH,
    ),
    Fault(
        "running statistics not loaded",
        Loaded(fresh_statistics),
        "structure",
        "encoder.0.block.0.norm.running_mean",
        NUMPY + PYTORCH,
    ),
    Fault("bias not loaded", Loaded(bias_missing), "structure", "head.bias", PYTORCH),
    Fault(
        "weights through float32",
        Loaded(in_float32),
        "structure",
        "encoder.0.block.0.conv.weight",
        PYTORCH + FLAX,
    ),
    Fault(
        "one parameter too many",
        Altered({"pytorch": parameter_too_many}),
        "structure",
        "parameter count",
        PYTORCH,
    ),
    Fault(
        "one layer in two places",
        Altered({"pytorch": layer_shared}),
        "structure",
        "parameter count",
        PYTORCH,
        because="it is counted once, before its values are read",
    ),
]
