"""What of a user's own module no spec can say, though it has a word for the kind of layer, is named."""

from __future__ import annotations

from typing import Any

import pytest

from backends import trace
from parity.adoption.differences import name_of
from parity.adoption.spec_values import unlike
from parity.adoption.unsaid import unsaid

CONV = {"groups": 1, "dilation": (1, 1), "bias": True}
POOL = {"rounding": "floor", "padding": (0, 0), "dilation": (1, 1)}
BATCH = {"affine": True, "running_statistics": True}
UNSAID: list[tuple[str, dict[str, Any], str]] = [
    ("conv", CONV, ""),
    ("conv", CONV | {"groups": 4}, "4 groups"),
    ("conv", CONV | {"dilation": (2, 2)}, ""),
    ("conv", CONV | {"computed": ["weight"]}, "a weight that is computed from other tensors"),
    ("transposed_conv", CONV | {"dilation": (2, 2)}, "a dilation of 2"),
    ("max_pool", POOL | {"padding": (1, 1)}, ""),
    ("max_pool", POOL | {"dilation": (1, 2)}, "a dilation of 1x2"),
    ("average_pool", {"rounding": "floor", "padding": (0, 1)}, "a padding of 0x1"),
    ("average_pool", {"rounding": "ceil", "padding": (0, 0)}, "sizes rounded up (ceil_mode)"),
    ("batch_norm", BATCH, ""),
    ("batch_norm", BATCH | {"running_statistics": False}, "no running statistics"),
    ("instance_norm", {"affine": False, "running_statistics": False}, ""),
    ("instance_norm", {"affine": False}, ""),
    ("instance_norm", {"affine": True, "running_statistics": True}, "running statistics"),
    ("group_norm", {"affine": True, "groups": 4}, ""),
    ("layer_norm", {"affine": False}, "no scale and shift"),
]


@pytest.mark.parametrize(("kind", "settings", "words"), UNSAID, ids=lambda value: str(value).replace(" ", "_"))
def test_settings_that_no_spec_can_say_are_named(kind: str, settings: dict[str, Any], words: str) -> None:
    assert unsaid(trace.Event(kind, kind, "", (0,), 1, settings)) == words


def test_what_differs_of_two_units_is_named() -> None:
    one = {"kind": "batch", "epsilon": 1e-5, "momentum": 0.1, "stride": 2}
    assert unlike(one, one | {"stride": 1}) == ""
    assert unlike(one, one | {"epsilon": 1e-3, "momentum": 0.01}) == "epsilon 1e-05 and 0.001, momentum 0.1 and 0.01"
    assert unlike(one, {"kind": "instance", "epsilon": 1e-5}) == "kind batch and instance, momentum 0.1 and none"


@pytest.mark.needs_backends("pytorch")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_calls_of_which_only_others_have_a_word_are_told() -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn

    kernel = torch.ones(1, 1, 2, 2)
    calls = {
        "interpolate in mode bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        "interpolate in mode bilinear with antialias": lambda x: F.interpolate(
            x, (5, 8), mode="bilinear", antialias=True
        ),
        "linear": lambda x: F.interpolate(x, (6, 9), mode="bilinear", antialias=True),  # smooths nothing
        "interpolate by 1.5 x 1.5": lambda x: F.interpolate(x, scale_factor=1.5),
        "interpolate to a size in mode nearest-exact": lambda x: F.interpolate(x, (7, 13), mode="nearest-exact"),
        "conv2d with padding 'same' of an even kernel": lambda x: F.conv2d(x, kernel, padding="same"),
        "cat along axis 2": lambda x: torch.cat([x, x], 2),
        "sum with a number": lambda x: x + 1.0,
        "product with a number": lambda x: 0.5 * x,
        "nearest": lambda x: F.interpolate(x, scale_factor=3, mode="nearest-exact"),  # the same by a whole factor
    }

    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [call(x) for call in calls.values()]

    assert [name_of(event) for event in trace.trace(Own(), (1, 1, 5, 9)).events] == list(calls)
