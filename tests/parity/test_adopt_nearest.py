"""What is said of a module whose branches are not inferred, from traces that are written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.trace import Event, Trace
from parity.adoption.key_map import MOST_ALIASES, alias_lines, key_map
from parity.adoption.nearest import branches_of, nearest_specs
from parity.adoption.passes import deeper_output
from parity.adoption.spec_values import with_fewer_channels
from parity.adoption.unsaid import unsayable
from shared_specs import initial_weights, load_spec
from shared_specs.keymap import from_canonical, original_keys


def chain(*calls: tuple[str, str, dict[str, Any], dict[str, str]], **more: Any) -> Trace:
    """Calls that read one another in a row."""
    events = tuple(
        Event(kind, call, f"at{n}", (n,), n + 1, settings, parameters)
        for n, (kind, call, settings, parameters) in enumerate(calls)
    )
    shapes = dict.fromkeys(range(len(events) + 1), (1, 4, 8, 8))
    return Trace("Own", events, (len(events),), shapes, {}, **more)


CONV = {"groups": 1, "dilation": (1, 1), "bias": True}


@pytest.mark.parametrize("sides", [2, 3])
@pytest.mark.parametrize("branches", ["gated", "nested", "residual"])
def test_nearest_networks_have_the_branches_of_the_module(branches: str, sides: int) -> None:
    names = nearest_specs(Trace("Own", (), (0,), {0: (1, 1, *(32,) * sides)}, {}), branches)
    specs = [load_spec(name) for name in names]
    assert specs and all(branches in branches_of(spec) for spec in specs)
    expected = sides if branches == "residual" else 2  # gates and nested decoders are in 2-D alone
    assert all(spec.dimensions == expected for spec in specs)


def test_first_call_that_no_spec_can_say_is_named() -> None:
    conv, repeat = ("conv", "conv2d", CONV, {"weight": "a.weight"}), ("other", "repeat", {}, {})
    more = ("relu", "relu", {}, {})
    assert unsayable(chain(conv, more)) == ("", "")
    what, advice = unsayable(chain(conv, repeat, more))
    assert what == "repeat at at1, for which a spec has no word"
    assert advice == "no spec says it either: replace repeat by what a spec has"
    assert unsayable(chain(conv, repeat))[1] == "return the logits, and take their repeat outside of the module"
    assert unsayable(chain(repeat, conv))[1].startswith("prepare the images outside of the module")
    assert "4 groups" in unsayable(chain(("conv", "conv2d", CONV | {"groups": 4}, {})))[0]
    assert unsayable(chain(conv, conv))[0].startswith("conv2d (at1) runs more than once with the same weights")
    assert unsayable(replace(chain(conv, repeat), outputs=(1,))) == ("", "")  # what does not lead to the logits


def test_output_from_a_deeper_level_than_the_first_is_named() -> None:
    found = chain(*[("conv", "conv2d", CONV, {})] * 3)
    found = replace(found, shapes={0: (1, 1, 8, 8), 1: (1, 4, 8, 8), 2: (1, 4, 4, 4), 3: (1, 4, 8, 8)})
    assert deeper_output(replace(found, outputs=(3, 1))) == ""
    assert deeper_output(replace(found, outputs=(1, 1, 3))).startswith("output 3 of the 3 that it returns ")
    label = replace(found, shapes={**found.shapes, 3: (1, 4, 1, 1)}, outputs=(1, 3))
    assert deeper_output(label) == ""


def norms(*groups_and_channels: tuple[int, int]) -> Trace:
    return chain(*[("group_norm", "group_norm", {"groups": g, "channels": c}, {}) for g, c in groups_and_channels])


def test_group_norms_of_few_channels_are_written_alike_where_a_spec_can_say_it() -> None:
    alike = {"groups": 8, "fewer_channels": "one_group"}
    assert [event.settings for event in with_fewer_channels(norms((1, 3), (8, 16), (8, 8))).events] == [
        {"channels": 3, **alike},
        {"channels": 16, **alike},
        {"channels": 8, **alike},
    ]
    for others in (norms((8, 16)), norms((1, 16), (8, 16)), norms((1, 3), (4, 16), (8, 16))):
        assert with_fewer_channels(others) == others


def test_other_names_become_aliases_by_which_the_original_is_written_whole() -> None:
    spec = load_spec("unet_bn_same").narrow(32)
    keys = {tensor.name: f"net.{tensor.name}" for tensor in spec.tensors}
    aliases = {f"again.{name}": key for name, key in keys.items()} | {"other.w": keys["head.weight"], "gone": "nowhere"}
    twice = "again.inner.encoder.0.block.0.conv.bias"
    aliases[twice] = aliases[twice.replace("inner.", "")]
    lines, rest = alias_lines(aliases, keys.values())
    assert not rest
    assert lines == {"again.*": "net.*", "other.w": keys["head.weight"], twice: aliases[twice]}
    ours = spec.model_copy(update={"checkpoint": key_map(spec, "Own", keys, (), aliases)})
    assert original_keys(ours) == keys
    written = from_canonical(ours, initial_weights(spec))
    assert set(written) == {*keys.values(), *aliases} - {"gone"}


def test_other_names_without_number_are_ignored() -> None:
    spec = load_spec("unet_bn_same").narrow(32)
    keys = {tensor.name: tensor.name for tensor in spec.tensors}
    aliases = {f"again.{n}.w{i}": name for n in range(MOST_ALIASES) for i, name in enumerate(list(keys)[:2])}
    found = key_map(spec, "Own", keys, (), aliases)
    assert not found.aliases and found.ignore == ("again.*",)


def test_a_line_that_would_make_up_names_is_written_for_each_tensor() -> None:
    keys = ["a.w", "b.w"]
    assert alias_lines({"a.a.w": "a.w"}, keys) == ({"a.a.w": "a.w"}, [])  # a.a.* = a.* would make a.a.a.w
    assert alias_lines({"c.w": "b.w", "c.c.w": "b.w"}, keys) == ({"c.*": "b.*", "c.c.*": "b.*"}, [])
