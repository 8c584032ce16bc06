"""What a trace holds: every call in order, under the names of the spec, and nothing of the module changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends import trace
from backends.trace import Event, Trace
from shared_specs import WeightsError

pytestmark = pytest.mark.needs_backends("pytorch")


def traced(forward: Callable[..., Any], *layers: Any, channels: int = 4, size: tuple[int, ...] = (6, 9)) -> Trace:
    """The trace of a module with these layers, whose forward pass is a function of the images and the layers."""
    from torch import nn

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x: Any) -> Any:
            return forward(x, *self.layers)

    return trace.trace(Own(), (2, channels, *size)).simplified()


def only(found: Trace) -> Event:
    (event,) = found.events
    return event


def same_thing() -> dict[str, tuple[str, list[Callable[..., Any]]]]:
    """By kind: ways to say the same."""
    import torch
    import torch.nn.functional as F

    return {
        "relu": (
            "relu",
            [torch.relu, F.relu, torch.relu_, F.relu_, lambda x: x.relu(), lambda x: F.relu(x, inplace=True)],
        ),
        "leaky_relu": ("leaky_relu", [F.leaky_relu, lambda x: F.leaky_relu_(x, 0.01)]),
        "sigmoid": ("sigmoid", [torch.sigmoid, lambda x: x.sigmoid(), lambda x: x.sigmoid_()]),
        "pool": ("max_pool", [lambda x: F.max_pool2d(x, 2), lambda x: torch.max_pool2d(x, [2, 2], [2, 2])]),
        "crop": (
            "crop",
            [
                lambda x: x[:, :, 1:5, 2:],
                lambda x: x[..., 1:-1, 2:9],
                lambda x: F.pad(x, (-2, 0, -1, -1)),
                lambda x: x[:, :, torch.tensor(1) : torch.tensor(5), 2:],
            ],
        ),
        "narrow": (
            "crop",
            [lambda x: x.narrow(2, 1, 3), lambda x: torch.narrow(x, -2, 1, 3), lambda x: x[..., 1:4, :]],
        ),
        "add": ("add", [lambda x: x + x, lambda x: x.add(x), lambda x: torch.add(x, x), lambda x: sum([x, x])]),
        "cat": (
            "cat",
            [
                lambda x: torch.cat([x, x], 1),
                lambda x: torch.cat((x, x), dim=-3),
                lambda x: torch.concat([x, x], axis=1),
                lambda x: torch.cat([torch.cat([x], 1), x], dim=1),
            ],
        ),
        "up": (
            "linear",
            [
                lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
                lambda x: F.interpolate(x, scale_factor=(2.0, 2.0), mode="bilinear", align_corners=True),
                lambda x: F.upsample(x, scale_factor=2, mode="bilinear", align_corners=True),
            ],
        ),
        "channel_norm": (
            "layer_norm",
            [
                lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
                lambda x: F.layer_norm(x.movedim(1, -1), [4]).movedim(-1, 1),
            ],
        ),
    }


@pytest.mark.filterwarnings("ignore:.*upsample.*deprecated")
@pytest.mark.parametrize(
    "way",
    ["relu", "leaky_relu", "sigmoid", "pool", "crop", "narrow", "add", "cat", "up", "channel_norm"],
)
def test_ways_to_say_the_same_are_one_event(way: str) -> None:
    kind, functions = same_thing()[way]
    events = [only(traced(function)) for function in functions]
    assert {event.kind for event in events} == {kind}
    settings = [{k: v for k, v in event.settings.items() if k != "dilation"} for event in events]
    assert all(other == settings[0] for other in settings)


def test_module_and_function_are_told_with_owner_and_keys() -> None:
    from torch import nn

    event = only(traced(lambda x, conv: conv(x), nn.Conv2d(4, 6, (3, 5), (1, 2), padding=1, bias=False)))
    assert str(event) == "conv2d (layers.0)"
    assert event.parameters == {"weight": "layers.0.weight"}
    assert {key: event.settings[key] for key in ("kernel", "stride", "padding", "bias", "out_channels")} == {
        "kernel": (3, 5),
        "stride": (1, 2),
        "padding": (1, 1),
        "bias": False,
        "out_channels": 6,
    }


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_is_the_convolutions_own(mode: str) -> None:
    from torch import nn

    event = only(traced(lambda x, conv: conv(x), nn.Conv2d(4, 4, 3, padding=1, padding_mode=mode)))
    assert (event.kind, event.settings["padding"], event.settings["padding_mode"]) == ("conv", (1, 1), mode)


def test_separate_padding_layer_belongs_to_the_convolution_behind_it() -> None:
    from torch import nn

    event = only(traced(lambda x, pad, conv: conv(pad(x)), nn.ReflectionPad2d(2), nn.Conv2d(4, 4, 5)))
    assert (event.settings["padding"], event.settings["padding_mode"]) == ((2, 2), "reflect")


def test_change_in_place_makes_another_map_of_the_same_tensor() -> None:
    import torch
    from torch import nn

    def forward(x: Any, conv: Any) -> Any:
        y = conv(x)
        skip = y
        torch.relu_(y)
        return torch.cat([skip, y], 1)

    conv, relu, cat = traced(forward, nn.Conv2d(4, 4, 1)).events
    assert relu.inputs == (conv.output,)
    assert cat.inputs == (relu.output, relu.output)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2.0,
        lambda x: x[:, :2],
        lambda x: x - 1,
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: x.flip(2),
    ],
    ids=["scaled", "channels", "shifted", "mean", "flipped"],
)
def test_what_no_spec_has_a_word_for_is_told_as_such(function: Callable[[Any], Any]) -> None:
    assert only(traced(function)).kind == "other"


def test_calls_that_do_nothing_are_left_out() -> None:
    from torch import nn

    def forward(x: Any, drop: Any, same: Any) -> Any:
        return same(drop(x.contiguous().float())).clone().reshape(2, 4, 6, 9).relu()

    assert only(traced(forward, nn.Dropout(0.0), nn.Identity())).kind == "relu"


def test_weights_that_are_computed_are_said_to_be() -> None:
    import torch.nn.functional as F
    from torch import nn

    conv = nn.Conv2d(4, 4, 1)
    event = only(traced(lambda x, layer: F.conv2d(x, layer.weight * 2, layer.bias), conv))
    assert event.settings["computed"] == ["weight"]
    assert event.parameters == {"bias": "layers.0.bias"}


def test_nothing_of_the_module_changes() -> None:
    import torch
    from torch import nn

    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.ReLU(inplace=True))
    module[1].eval()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    random, modes = torch.get_rng_state(), [part.training for part in module.modules()]
    trace.trace(module, (2, 1, 8, 8))
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not [part for part in module.modules() if part._forward_hooks or part._forward_pre_hooks]


def test_unused_keys_are_those_no_call_read() -> None:
    from torch import nn

    found = traced(lambda x, used, unused: used(x), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, bias=False))
    assert found.unused() == ["layers.1.weight"]


def test_other_names_of_a_tensor_are_aliases_and_not_unused() -> None:
    from torch import nn

    shared = nn.Conv2d(4, 4, 1, bias=False)
    found = traced(lambda x, one, same: one(x), shared, nn.Sequential(shared))
    assert found.aliases == {"layers.1.0.weight": "layers.0.weight"}
    assert found.unused() == []


def test_channels_of_images_are_those_of_the_convolution_that_runs_first() -> None:
    import torch
    from torch import nn

    class Own(nn.Module):
        def __init__(self, fails: bool = False) -> None:
            super().__init__()
            self.later, self.first, self.fails = nn.Conv2d(4, 2, 3), nn.Conv2d(3, 4, 1), fails

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.fails
            return self.later(self.first(x))

    assert trace.first_convolution(Own()) == (3, 2)
    assert trace.first_convolution(Own(fails=True)) == (4, 2)


def test_outputs_in_a_dict_or_a_tuple_are_taken_in_order() -> None:
    relu, tanh = traced(lambda x: {"out": x.relu(), "aux": (x.tanh(),)}).outputs
    assert (relu, tanh) == (1, 2)


def test_three_dimensions() -> None:
    from torch import nn

    event = only(traced(lambda x, up: up(x), nn.ConvTranspose3d(4, 2, (1, 2, 2), (1, 2, 2)), size=(3, 4, 5)))
    assert (event.kind, event.settings["stride"]) == ("transposed_conv", (1, 2, 2))


def test_compiled_module_is_traced_as_what_it_compiles() -> None:
    import torch
    from torch import nn

    found = trace.trace(torch.compile(nn.Conv2d(1, 2, 3)), (1, 1, 8, 8))
    assert [event.kind for event in found.events] == ["conv"]


def test_state_is_read_as_copies() -> None:
    from torch import nn

    module = nn.Conv2d(1, 1, 1)
    state = trace.read_state(module)
    state["weight"] += 1
    assert not np.array_equal(state["weight"], trace.read_state(module)["weight"])


def saved(tmp_path: Any, content: Any) -> str:
    import torch

    path = tmp_path / "state.pth"
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("wrapper", ["none", "state_dict", "model", "data_parallel"])
def test_checkpoint_is_loaded_out_of_its_wrapper(tmp_path: Any, wrapper: str) -> None:
    from torch import nn

    source, target = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    state: Any = source.state_dict()
    if wrapper == "data_parallel":
        state = {f"module.{key}": tensor for key, tensor in state.items()}
    trace.load_state(target, saved(tmp_path, state if wrapper in ("none", "data_parallel") else {wrapper: state}))
    assert all(np.array_equal(a, b) for a, b in zip(*map(_values, (source, target)), strict=True))


def _values(module: Any) -> list[np.ndarray]:
    return list(trace.read_state(module).values())


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Any) -> None:
    from torch import nn

    path = saved(tmp_path, {"weight": Harmful(str(tmp_path / "harm"))})
    with pytest.raises(WeightsError, match="code"):
        trace.load_state(nn.Conv2d(1, 1, 1), path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list, expected a state dict"),
        ({"weight": 3}, "holds no state dict (its keys: 'weight')"),
        ({}, "holds no state dict (its keys: nothing)"),
    ],
    ids=["list", "numbers", "empty"],
)
def test_checkpoint_without_a_state_dict_is_refused(tmp_path: Any, content: Any, words: str) -> None:
    from torch import nn

    with pytest.raises(WeightsError) as refused:
        trace.load_state(nn.Conv2d(1, 1, 1), saved(tmp_path, content))
    assert words in str(refused.value)


def test_group_norm_of_one_channel_a_group_keeps_its_name_and_groups() -> None:
    import torch.nn.functional as F

    event = only(traced(lambda x: F.group_norm(x, 4)))
    assert event.kind == "group_norm"
    assert event.settings["groups"] == event.settings["channels"] == 4
