"""Faults on the way back: gradients and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backends.contract import StepResult

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit, PyTorchKit, scaled
from .planting import Altered, InputGradient, Labels, Rewired, TensorGradient

WEIGHT = "encoder.1.block.0.conv.weight"
PIXELS = 2 * 6 * 8
"""Of the logits of the network of two levels: a sum is this many times the mean."""


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

    PyTorchKit().rewire(model, name, wrong)


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


def scaled_loss(factor: float, gradient: float) -> Altered:
    """Loss and gradients come out times a factor each."""

    def in_numpy(model: Any) -> None:
        step, backward = model.loss_and_gradients, model.module.backward

        def wrong(images: np.ndarray, labels: np.ndarray) -> StepResult:
            found = step(images, labels)
            return StepResult(factor * found.loss, found.logits, found.gradients, found.image_gradient)

        model.module.backward = lambda gradients: backward([gradient * each for each in gradients])
        model.loss_and_gradients = wrong

    def in_pytorch(model: Any) -> None:
        right = model._total

        def wrong(heads: Any, targets: Any) -> Any:
            loss = right(heads, targets)
            value = loss.detach()
            return factor * value + gradient * (loss - value)

        model._total = wrong

    def in_flax(model: Any) -> None:
        right = model.network.loss

        def wrong(*inputs: Any) -> Any:
            loss, others = right(*inputs)
            return scaled(loss, gradient) + (factor - 1) * scaled(loss, 0.0), others

        model.network.loss = wrong

    return Altered({"numpy_reference": in_numpy, "pytorch": in_pytorch, "flax_nnx": in_flax})


def pytorch_loss(**options: Any) -> Altered:
    def change(model: Any) -> None:
        import torch
        import torch.nn.functional as F

        chosen = dict(options)
        if "weight" in chosen:
            chosen["weight"] = torch.tensor(chosen["weight"], dtype=torch.float64)
        model._total = lambda heads, targets: F.cross_entropy(heads[0], targets[0], **chosen)

    return Altered({"pytorch": change})


def on_probabilities(model: Any) -> None:
    """The softmax is taken twice."""
    right = model._total
    model._total = lambda heads, targets: right(tuple(logits.softmax(1) for logits in heads), targets)


def ignored_class(model: Any) -> None:
    import jax
    import jax.numpy as jnp

    right = model.network.loss

    def wrong(parameters: Any, images: Any, statistics: Any, labels: Any) -> Any:
        _, (logits, moved) = right(parameters, images, statistics, labels)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[0][..., None], -1)[..., 0]
        counted = labels[0] != 0
        return -(chosen * counted).sum() / counted.sum(), (logits, moved)

    model.network.loss = wrong


def per_model(**changes: Callable[[Any], None]) -> Altered:
    return Altered(dict(changes))


LOSS_FIRST = "the logits are right, and the loss comes before its gradients"

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
        because="as above",
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
        NUMPY + PYTORCH,
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
    Fault("loss summed instead of averaged", scaled_loss(PIXELS, PIXELS), "gradients", "loss", because=LOSS_FIRST),
    Fault(
        "scale of the loss not undone",
        scaled_loss(1.0, 1024.0),
        "gradients",
        "gradient of head.bias",
        because="the loss is right, and gradients run backwards",
    ),
    Fault("loss off by 1e-9", scaled_loss(1 + 1e-9, 1.0), "gradients", "loss", NUMPY + PYTORCH),
    Fault("labels off by one", Labels(lambda labels: (labels + 1) % 10), "gradients", "loss", because=LOSS_FIRST),
    Fault(
        "labels turned upside down",
        Labels(lambda labels: labels[:, ::-1].copy()),
        "gradients",
        "loss",
        NUMPY + PYTORCH,
        because=LOSS_FIRST,
    ),
    Fault("first class ignored", pytorch_loss(ignore_index=0), "gradients", "loss", PYTORCH, because=LOSS_FIRST),
    Fault(
        "first class ignored, in Flax",
        per_model(flax_nnx=ignored_class),
        "gradients",
        "loss",
        FLAX,
        because=LOSS_FIRST,
    ),
    Fault("labels smoothed", pytorch_loss(label_smoothing=1e-3), "gradients", "loss", PYTORCH, because=LOSS_FIRST),
    Fault(
        "one class weighs more",
        pytorch_loss(weight=[1.001] + [1.0] * 9),
        "gradients",
        "loss",
        PYTORCH,
        because=LOSS_FIRST,
    ),
    Fault("softmax taken twice", per_model(pytorch=on_probabilities), "gradients", "loss", PYTORCH, because=LOSS_FIRST),
]
