"""Faults in activations and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .kits import Kit
from .planting import Altered, Rewired, output, reordered, setting, used

ACTIVATION, LAST = "encoder.0.block.0.activation", "decoder.0.block.1.activation"


def quick(kit: Kit, layer: Any, right: Any, x: Any) -> Any:
    """The quick form of GELU, x sigmoid(1.702 x), where x sigmoid(x) is asked for."""
    return right(1.702 * x) / 1.702


def mask(kit: Kit, y: Any) -> Any:
    """Half of the elements dropped, the others doubled."""
    return y * kit.array(np.random.default_rng(0).integers(0, 2, tuple(y.shape)) * 2.0, y)


def dropout_left_on(model: Any) -> None:
    model.module.get_submodule("encoder.0.block.0.dropout").p = 0.5


FAULTS = [
    Fault(
        "slope 0.01 instead of 0.2",
        setting(ACTIVATION, slope=0.01),
        "activations",
        ACTIVATION,
        network="leaky relu",
    ),
    Fault(
        "a leak of 1e-9",
        setting(LAST, kind="leaky_relu", slope=1e-9),
        "activations",
        LAST,
        backends=NUMPY + PYTORCH,
    ),
    Fault("alpha 1 instead of 0.7", setting(LAST, alpha=1.0), "activations", LAST, network="elu"),
    Fault("GELU by tanh", setting(ACTIVATION, approximation="tanh"), "activations", ACTIVATION, network="gelu"),
    Fault(
        "exact GELU instead of that by tanh",
        setting(ACTIVATION, approximation="none"),
        "activations",
        ACTIVATION,
        NUMPY + PYTORCH,
        network="gelu by tanh",
    ),
    Fault("SiLU in the quick form of GELU", Rewired(LAST, quick), "activations", LAST, network="silu"),
    Fault(
        "one learned slope for all channels",
        used(f"{ACTIVATION}.weight", lambda w: 0 * w + w[:1]),
        "activations",
        ACTIVATION,
        network="prelu per channel",
    ),
    Fault("sigmoid for tanh", setting(LAST, kind="sigmoid"), "activations", LAST, network="tanh"),
    Fault("tanh for sigmoid", setting(LAST, kind="tanh"), "activations", LAST, network="sigmoid"),
    Fault("ReLU where none is", setting(ACTIVATION, kind="relu"), "activations", ACTIVATION, network="identity"),
    Fault("activation forgotten", setting(LAST, kind="identity"), "activations", LAST, PYTORCH + FLAX),
    Fault(
        "activation before the norm",
        reordered("encoder.0.block.1.norm", "encoder.0.block.1.activation"),
        "activations",
        "encoder.0.block.1.norm",
        because="of the two layers the norm is the first in the order of the spec",
    ),
    Fault(
        "dropout left on in evaluation",
        output("encoder.0.block.0.dropout", mask),
        "activations",
        "encoder.0.block.0.dropout",
        network="dropout",
    ),
    Fault(
        "dropout left on in training",
        Altered({"pytorch": dropout_left_on}),
        "statistics",
        "encoder.0.block.0.norm.running_mean",
        PYTORCH,
        network="dropout",
        because="it is the norm that follows whose statistics show it first",
    ),
    Fault(
        "dropout scales at evaluation instead of in training",
        output("decoder.0.block.1.dropout", lambda kit, y: 0.5 * y),
        "activations",
        "decoder.0.block.1.dropout",
        NUMPY + FLAX,
        network="dropout",
    ),
]
