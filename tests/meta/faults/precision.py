"""Faults of precision and of order: arithmetic that is coarser than asked for, and a read that comes too early."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

from .fault import ALL, FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit
from .planting import Altered, Rewired, output

CONV, HEAD, NORM = "encoder.1.block.0.conv", "head", "encoder.0.block.0.norm"


def in_tf32(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    """Both operands of the product keep 10 bits, as on a GPU where TF32 was left on."""
    with kit.using(layer, "conv.weight", lambda w: kit.cast(w, "tf32")):
        return right(kit.cast(x, "tf32"))


def gradient_in_tf32(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    y = right(x)
    if y.requires_grad:
        y.register_hook(lambda gradient: kit.cast(gradient, "tf32"))
    return y


def fast_variance(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    """The running variance is made of E[x^2] - E[x]^2, which cancels where the mean is large."""
    kept, momentum = 1 * kit.tensor(layer, "norm.running_var"), 0.1
    y = right(x)
    if kit.training(layer):
        axes = tuple(axis for axis in range(x.ndim) if axis != kit.channels % x.ndim)
        count = 1
        for axis in axes:
            count *= x.shape[axis]
        variance = (x * x).mean(axes) - x.mean(axes) ** 2
        kit.assign(layer, "norm.running_var", (1 - momentum) * kept + momentum * variance * count / (count - 1))
    return y


def loss_in_float32(model: Any) -> None:
    right = model._total
    model._total = lambda heads, targets: right(tuple(logits.float() for logits in heads), targets).double()


def training_alone_in_float32(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    y = right(x)
    return kit.cast(y, "float32") if layer.training else y


def inference_in_float32(model: Any) -> None:
    """What is timed as inference runs in float32, while the layers that are looked at do not."""
    right = model.forward
    model.forward = lambda images: right(images).astype("float32").astype("float64")


def read_too_early(model: Any) -> None:
    """A layer computes in a thread and hands out its buffer at once; the thread always comes too late.

    The buffer holds what the memory held before. Here those are zeros, so that the fault is the same each time.
    """
    layer = model.module.get_submodule(CONV)
    right, load = layer.forward, model.load_weights
    late = Event()

    def forward(x: Any) -> Any:
        import torch

        result = right(x)
        buffer = torch.zeros_like(result)

        def fill() -> None:
            late.wait()
            with torch.inference_mode(result.is_inference()), torch.no_grad():
                buffer.copy_(result)

        Thread(target=fill, daemon=True).start()
        return buffer + 0 * result

    def load_weights(weights: Any) -> None:
        """Between two passes the threads come to their end."""
        late.set()
        late.clear()
        load(weights)

    layer.forward, model.load_weights = forward, load_weights


FAULTS = [
    Fault(
        "a float32 operation in a float64 run", output(HEAD, lambda kit, y: kit.cast(y, "float32")), "activations", HEAD
    ),
    Fault(
        "a float32 norm in a float64 run",
        output(NORM, lambda kit, y: kit.cast(y, "float32")),
        "activations",
        NORM,
        PYTORCH,
    ),
    Fault(
        "float32 in training alone",
        Rewired(HEAD, training_alone_in_float32),
        "gradients",
        "logits",
        PYTORCH,
    ),
    Fault(
        "the loss in float32 in a float64 run",
        Altered({"pytorch": loss_in_float32}),
        "gradients",
        "loss",
        PYTORCH,
    ),
    Fault(
        "inference in float32 in a float64 run",
        Altered(dict.fromkeys(ALL, inference_in_float32)),
        "forward",
        "logits",
        because="the layers that are looked at are right: only the program of inference is not",
    ),
    Fault(
        "sums in bfloat16 in a float32 run",
        output(CONV, lambda kit, y: kit.cast(y, "bfloat16")),
        "activations",
        CONV,
        PYTORCH + FLAX,
        precision="float32",
    ),
    Fault("TF32 left on", Rewired(CONV, in_tf32), "activations", CONV, PYTORCH + FLAX, precision="float32"),
    Fault(
        "TF32 left on in the backward pass",
        Rewired("head", gradient_in_tf32),
        "gradients",
        "gradient of head.bias",
        PYTORCH,
        precision="float32",
    ),
    Fault(
        "a fast-math variance",
        Rewired(NORM, fast_variance),
        "statistics",
        f"{NORM}.running_var",
        PYTORCH + FLAX,
        network="reflect, images of mean 300",
        precision="float32",
    ),
    Fault(
        "a fast-math exponential",
        output("decoder.0.block.1.activation", lambda kit, y: y * (1 + 1e-12)),
        "activations",
        "decoder.0.block.1.activation",
        NUMPY,
        network="sigmoid",
    ),
    Fault(
        "an array read before it is ready",
        Altered({"pytorch": read_too_early}),
        "activations",
        CONV,
        PYTORCH,
    ),
]
