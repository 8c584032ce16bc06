"""Faults on the way back: gradients and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.contract import StepResult

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit, kit_of
from .planting import InputGradient, Rewired, TensorGradient, per_model

WEIGHT = "encoder.1.block.0.conv.weight"


def accumulated(model: Any) -> None:
    """The loop forgets to clear the gradients; new weights bring new ones."""
    clear, load = model.module.zero_grad, model.load_weights

    def load_afresh(weights: Any) -> None:
        load(weights)
        clear()

    model.load_weights, model.module.zero_grad = load_afresh, lambda: None


def clipped(model: Any) -> None:
    import torch

    right = model.loss_and_gradients

    def wrong(images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = right(images, labels)
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1e-2)
        return result

    model.loss_and_gradients = wrong


def moved_in_backward(model: Any) -> None:
    right = model.loss_and_gradients

    def wrong(images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = right(images, labels)
        model.optimizer.step() if hasattr(model.module, "parameters") else model.optimizer.step(model.module)
        return result

    model.loss_and_gradients = wrong


def transposed_when_read(model: Any) -> None:
    right = model.loss_and_gradients

    def wrong(images: np.ndarray, labels: np.ndarray) -> StepResult:
        result = right(images, labels)
        result.gradients[WEIGHT] = result.gradients[WEIGHT].swapaxes(2, 3).copy()
        return result

    model.loss_and_gradients = wrong


def straight_through(model: Any, name: str) -> None:
    """The gradient passes an activation as if it were the identity."""
    if hasattr(model.module, "layers"):
        model.module.layers[name].backward = lambda dy: dy
        return

    def wrong(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
        return right(x.detach()) + x - x.detach()

    kit_of("pytorch").rewire(model, name, wrong)


def constant_statistics(model: Any) -> None:
    """The gradient takes the batch's mean and variance for constants."""
    layer = model.module.layers["decoder.0.block.1.norm"]
    layer.backward = lambda dy: layer.scale * layer.affine_backward(dy)


def constant_statistics_pytorch(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    y = right(x)
    if not layer.training:
        return y
    mean = x.mean((0, 2, 3), keepdim=True).detach()
    scale = (x.var((0, 2, 3), keepdim=True, correction=0).detach() + layer.eps).rsqrt()
    wrong = (x - mean) * scale * kit.per_channel(layer.weight, x) + kit.per_channel(layer.bias, x)
    return wrong + (y - wrong).detach()


FAULTS = [
    Fault(
        "gradients detached at a skip",
        InputGradient("decoder.0.merge", 0, 0.0),
        "gradients",
        "gradient of encoder.0.block.1.norm.bias",
        because="gradients run backwards: the first tensor that the skip's share is missing from",
    ),
    Fault(
        "gradient of a skip halved",
        InputGradient("decoder.0.merge", 0, 0.5),
        "gradients",
        "gradient of encoder.0.block.1.norm.bias",
        PYTORCH,
        because="the first tensor that the skip's share is missing from, backwards",
    ),
    Fault(
        "gradient of the upsampled map accumulated twice",
        InputGradient("decoder.0.merge", 1, 2.0),
        "gradients",
        "gradient of decoder.0.up.bias",
        because="the first tensor behind the merge, backwards",
    ),
    Fault(
        "gradient of one kernel halved",
        TensorGradient(WEIGHT, 0.5),
        "gradients",
        f"gradient of {WEIGHT}",
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "one parameter frozen",
        TensorGradient("decoder.0.up.bias", 0.0),
        "gradients",
        "gradient of decoder.0.up.bias",
    ),
    Fault(
        "learned slopes frozen",
        TensorGradient("encoder.0.block.0.activation.weight", 0.0),
        "gradients",
        "gradient of encoder.0.block.0.activation.weight",
        PYTORCH + FLAX,
        network="prelu per channel",
    ),
    Fault(
        "gradient of the images halved",
        InputGradient("encoder.0.block.0.conv", 0, 0.5),
        "gradients",
        "gradient of the images",
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "gradient of a deep head cut off",
        InputGradient("deep_head.0", 0, 0.0),
        "gradients",
        "gradient of decoder.1.block.1.norm.bias",
        NUMPY + PYTORCH,
        network="deep supervision",
        because="the first tensor before the head that was cut off, backwards",
    ),
    Fault(
        "gradient transposed when it is read",
        per_model(numpy_reference=transposed_when_read, pytorch=transposed_when_read),
        "gradients",
        f"gradient of {WEIGHT}",
        NUMPY + PYTORCH,
    ),
    Fault(
        "gradient passes a ReLU whatever its sign",
        per_model(
            numpy_reference=lambda model: straight_through(model, "decoder.0.block.1.activation"),
            pytorch=lambda model: straight_through(model, "decoder.0.block.1.activation"),
        ),
        "gradients",
        "gradient of decoder.0.block.1.norm.bias",
        NUMPY + PYTORCH,
        because="the first tensor before the activation, backwards",
    ),
    Fault(
        "gradient takes the batch's statistics for constants",
        per_model(numpy_reference=constant_statistics),
        "gradients",
        "gradient of decoder.0.block.1.conv.bias",
        NUMPY,
        because="the norm's own gradients are right, and the first tensor before it is a bias",
    ),
    Fault(
        "gradient takes the batch's statistics for constants, in PyTorch",
        Rewired("decoder.0.block.1.norm", constant_statistics_pytorch),
        "gradients",
        "gradient of decoder.0.block.1.conv.bias",
        PYTORCH,
        because="the norm's own gradients are right, and the first tensor before it is a bias",
    ),
    Fault(
        "gradients never cleared",
        per_model(pytorch=accumulated),
        "trajectory",
        "step 2: encoder.0.block.0.conv.weight",
        PYTORCH,
        because="the first step has nothing to add to",
    ),
    Fault(
        "gradients clipped",
        per_model(pytorch=clipped),
        "optimizer",
        "encoder.0.block.0.conv.weight",
        PYTORCH,
        because="clipping comes between the gradients that are read and the step",
    ),
    Fault(
        "weights moved by the backward pass",
        per_model(numpy_reference=moved_in_backward, pytorch=moved_in_backward),
        "statistics",
        "encoder.0.block.0.conv.weight",
        NUMPY + PYTORCH,
    ),
]
