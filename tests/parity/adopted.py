"""The module of a user's own that the tests of `parity.adopt` change, and its spec."""

from __future__ import annotations

from typing import Any

from shared_specs import UNetSpec

CHANGEABLE: dict[str, Any] = {
    "name": "changeable",
    "title": "The spec of own_networks.Changeable",
    "source": "tests",
    "dimensions": 2,
    "in_channels": 3,
    "out_channels": 2,
    "widths": [4, 8, 12],
    "block": {"convolutions": 2, "order": ["conv", "norm", "activation"]},
    "conv": {"kernel": 3, "stride": 1, "padding": 1, "padding_mode": "zeros", "dilation": 1, "bias": True},
    "norm": {"kind": "batch", "epsilon": 1e-5, "momentum": 0.1, "running_variance": "unbiased"},
    "activation": {"kind": "leaky_relu", "slope": 0.01},
    "down": {"kind": "max_pool", "kernel": 2, "stride": 2, "padding": 0, "rounding": "floor"},
    "up": {
        "kind": "linear",
        "scale": 2,
        "align_corners": True,
        "after": {
            "kernel": 1,
            "padding": 0,
            "padding_mode": "zeros",
            "bias": False,
            "width": "decoder",
            "order": ["conv"],
            "norm": {"kind": "none"},
            "activation": {"kind": "identity"},
        },
    },
    "merge": {
        "kind": "concatenate",
        "order": ["skip", "upsampled"],
        "size_mismatch": "pad_upsampled",
        "odd_difference": "floor",
        "padding_mode": "zeros",
    },
    "head": {"kernel": 1, "padding": 0, "bias": True},
}


def changeable() -> UNetSpec:
    return UNetSpec.model_validate(CHANGEABLE)


def group_norm(of: str) -> Any:
    import torch

    return lambda channels: torch.nn.GroupNorm(channels if of == "each" else 4, channels)


def own(name: str, **change: Any) -> Any:
    import torch

    from tests import own_networks

    torch.manual_seed(0)
    classes = {"nothing": lambda channels: torch.nn.Identity(), "BiasedNorm": own_networks.BiasedNorm}
    named = {
        key: classes.get(value) or getattr(torch.nn, value) for key, value in change.items() if value.__class__ is str
    }
    return getattr(own_networks, name)(**(change | named))


def changed_in_place(statement: str) -> Any:
    from tests.own_networks import ChangedInPlace

    return ChangedInPlace(statement)
