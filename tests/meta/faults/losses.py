"""Faults in the loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.contract import StepResult

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .flax_kit import scaled
from .planting import Altered, Labels, per_model

PIXELS = 2 * 6 * 8
"""Of the logits of the network of two levels: a sum is this many times the mean."""
LOSS_FIRST = "the logits are right, and the loss comes before its gradients"


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

    return Altered({"numpy_reference": in_numpy, "pytorch": in_pytorch} | dict.fromkeys(FLAX, in_flax))


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


FAULTS = [
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
        Altered(dict.fromkeys(FLAX, ignored_class)),
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
