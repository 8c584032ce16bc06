"""Faults in norms and their running statistics."""

from __future__ import annotations

from typing import Any

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit
from .planting import Rewired, output, setting, used

FIRST, SECOND, LAST = "encoder.0.block.0.norm", "encoder.0.block.1.norm", "decoder.0.block.1.norm"


def not_updated(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    with kit.using(layer, "norm.running_mean", lambda held: 1 * held):
        return right(x)


def updated_twice(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    right(x)
    return right(x)


def batch_statistics_always(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    with (
        kit.using(layer, "norm.running_mean", lambda held: 1 * held),
        kit.using(layer, "norm.running_var", lambda held: 1 * held),
    ):
        y = right(x, training=True)
    return right(x) if kit.training(layer) else y


def running_statistics_always(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    return right(x, training=False)


def just_updated_statistics(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    right(x)
    return right(x, training=False)


def epsilon_beside_the_root(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    """In evaluation mode, (x - mean) / (sqrt(variance) + epsilon)."""
    y = right(x)
    if kit.training(layer):
        return y
    bias, variance = (kit.per_channel(kit.tensor(layer, f"norm.{leaf}"), y) for leaf in ("bias", "running_var"))
    return (y - bias) * kit.sqrt(variance + 1e-5) / (kit.sqrt(variance) + 1e-5) + bias


def unbiased(kit: Kit, y: Any) -> Any:
    """Of a map of 48 pixels, each channel normalised with the variance over 47."""
    return y * (47 / 48) ** 0.5


def ones(tensor: Any) -> Any:
    return 0 * tensor + 1


FAULTS = [
    Fault("epsilon 1.0001e-5 instead of 1e-5", setting(SECOND, epsilon=1.0001e-5), "activations", SECOND),
    Fault("epsilon 1e-3 instead of 1e-5", setting(LAST, epsilon=1e-3), "activations", LAST, PYTORCH + FLAX),
    Fault(
        "epsilon of a group norm left at Flax's default",
        setting(FIRST, epsilon=1e-6),
        "activations",
        FIRST,
        FLAX,
        network="group norm",
    ),
    Fault("epsilon beside the root", Rewired(SECOND, epsilon_beside_the_root), "activations", SECOND),
    Fault(
        "momentum 0.9 instead of 0.1",
        setting(FIRST, momentum=0.9),
        "statistics",
        f"{FIRST}.running_mean",
        backends=NUMPY + PYTORCH,
    ),
    Fault("momentum 0.99 instead of 0.1", setting(LAST, momentum=0.99), "statistics", f"{LAST}.running_mean", NUMPY),
    Fault(
        "momentum 0.1001 instead of 0.1",
        setting(SECOND, momentum=0.1001),
        "statistics",
        f"{SECOND}.running_mean",
        PYTORCH + FLAX,
    ),
    Fault(
        "running variance biased",
        setting(SECOND, running_variance="biased"),
        "statistics",
        f"{SECOND}.running_var",
        because="the running mean comes first and is right",
    ),
    Fault("running mean not updated", Rewired(FIRST, not_updated), "statistics", f"{FIRST}.running_mean"),
    Fault(
        "statistics updated twice",
        Rewired(SECOND, updated_twice),
        "statistics",
        f"{SECOND}.running_mean",
    ),
    Fault("batch statistics in evaluation mode", Rewired(SECOND, batch_statistics_always), "activations", SECOND),
    Fault(
        "running statistics in training mode",
        Rewired(LAST, running_statistics_always),
        "statistics",
        f"{LAST}.running_mean",
        because="what is not looked at is not kept either",
    ),
    Fault(
        "normalised with the statistics just updated",
        Rewired(LAST, just_updated_statistics),
        "gradients",
        "logits",
        because="the statistics are right, and no norm follows whose own would show it",
    ),
    Fault("scale dropped", used(f"{FIRST}.weight", ones), "activations", FIRST),
    Fault("shift dropped", used(f"{FIRST}.bias", lambda b: 0 * b), "activations", FIRST, PYTORCH),
    Fault(
        "scale of an instance norm dropped",
        used(f"{FIRST}.weight", ones),
        "activations",
        FIRST,
        NUMPY + FLAX,
        network="affine instance norm",
    ),
    Fault(
        "layer norm instead of instance norm",
        setting(SECOND, kind="layer_norm"),
        "activations",
        SECOND,
        network="affine instance norm",
    ),
    Fault(
        "layer norm over the image instead of the channels",
        setting(FIRST, kind="group_norm", groups=1),
        "activations",
        FIRST,
        network="layer norm",
    ),
    Fault("four groups instead of two", setting(FIRST, groups=4), "activations", FIRST, network="group norm"),
    Fault(
        "unbiased variance in an instance norm",
        output(FIRST, unbiased),
        "activations",
        FIRST,
        NUMPY + PYTORCH,
        network="instance norm",
    ),
]
