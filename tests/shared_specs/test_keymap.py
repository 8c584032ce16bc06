"""Key maps: both directions on every network that has one, and each refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared_specs import SpecError, UNetSpec, WeightsError, initial_weights, load_spec, spec_names
from shared_specs.keymap import MOST_ALIASES, aliases_of, from_canonical, original_keys, to_canonical
from shared_specs.patterns import pattern

MAPPED = [name for name in spec_names() if load_spec(name).checkpoint is not None]

KEYS = {
    "enc{i}.{j}.*": "encoder.{i}.block.{j}.*",
    "dec{i}.{j}.*": "decoder.{2-i}.block.{j}.*",
    "dec{i}.up.*": "decoder.{2-i}.up.*",
    "out.*": "head.*",
}


@pytest.fixture
def spec_with(changed_spec: Callable[..., UNetSpec]) -> Callable[..., UNetSpec]:
    """A network of three levels with keys changed in its [checkpoint] table."""

    def make(base: str = "unet_bn_same", **checkpoint: Any) -> UNetSpec:
        table = {"scheme": "test", "keys": KEYS} | checkpoint
        return changed_spec({"widths": [2, 4, 8], "checkpoint": table}, base)

    return make


@pytest.fixture
def state(spec_with: Callable[..., UNetSpec]) -> dict[str, np.ndarray]:
    spec = spec_with()
    return from_canonical(spec, initial_weights(spec))


@pytest.mark.parametrize("name", MAPPED)
def test_round_trip(name: str) -> None:
    spec = load_spec(name).narrow(8)
    weights = initial_weights(spec)
    state = from_canonical(spec, weights)
    back = to_canonical(spec, state)
    assert list(back) == [tensor.name for tensor in spec.tensors]
    for key, values in weights.items():
        np.testing.assert_array_equal(back[key], values, err_msg=key)
    assert len(set(original_keys(spec).values())) == len(weights)
    assert len(state) >= len(weights)


@pytest.mark.parametrize("name", MAPPED)
def test_every_pattern_is_of_use(name: str) -> None:
    spec = load_spec(name)
    assert spec.checkpoint is not None
    keys, names = original_keys(spec), set[str]()
    for key in keys.values():
        names |= {key, *aliases_of(spec, key)}
    for left in [*spec.checkpoint.keys, *spec.checkpoint.aliases]:
        assert any(pattern(left).match(key) for key in names), left


def test_nothing_is_copied_without_need(spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]) -> None:
    weights = to_canonical(spec_with(), state)
    assert all(weights[name] is state[key] for name, key in original_keys(spec_with()).items())


def test_the_first_pattern_that_fits_counts(spec_with: Callable[..., UNetSpec]) -> None:
    spec = spec_with(keys={"stem.{j}.*": "encoder.0.block.{j}.*"} | KEYS)
    keys = original_keys(spec)
    assert keys["encoder.0.block.1.conv.weight"] == "stem.1.conv.weight"
    assert keys["encoder.1.block.1.conv.weight"] == "enc1.1.conv.weight"
    state = from_canonical(spec, initial_weights(spec))
    state["enc0.1.conv.weight"] = state["stem.1.conv.weight"]
    with pytest.raises(WeightsError, match=r"enc0\.1\.conv\.weight, which would be .*, as stem\.1\.conv\.weight is"):
        to_canonical(spec, state)


def test_all_problems_are_listed_at_once(spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]) -> None:
    spec = spec_with(aliases={"twin.{i}.*": "enc{i}.0.conv.*"}, ignore=["*.num_batches_tracked"])
    del state["out.bias"]
    state["out.weight"] = state["out.weight"][:, :1]
    state["enc0.0.conv.bias"] = np.array([0.0, np.nan])
    state["enc0.0.norm.running_var"] = -state["enc0.0.norm.running_var"]
    state["enc1.0.conv.bias"] = state["enc1.0.conv.bias"].astype(np.int64)
    state["twin.1.weight"] = state["enc1.0.conv.weight"] + 1e-12
    state["enc7.0.conv.bias"] = state["loss.weight"] = np.zeros(2)
    state["enc0.0.norm.num_batches_tracked"] = np.array(3)
    with pytest.raises(WeightsError) as error:
        to_canonical(spec, state, origin="model.pth")
    assert str(error.value) == (
        "model.pth: no test weights of unet_bn_same: "
        "enc0.0.conv.bias has nan at (1,), expected finite values; "
        "enc0.0.norm.running_var has a negative variance; "
        "enc1.0.conv.bias has dtype int64, expected one of float64, float32, float16; "
        "missing out.bias (10,), which is head.bias; "
        "out.weight is (10, 1, 1, 1), expected (10, 2, 1, 1); "
        "twin.1.weight differs from enc1.0.conv.weight, of which it is another name; "
        "unexpected enc7.0.conv.bias, which would be encoder.7.block.0.conv.bias, and the network has no such tensor; "
        "unexpected loss.weight, which no pattern fits"
    )


def test_an_alias_will_do_alone(spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]) -> None:
    """One name of a tensor is all that safetensors' save_model keeps."""
    spec = spec_with(aliases={"twin.{i}.*": "enc{i}.0.conv.*"})
    state["twin.1.weight"] = state.pop("enc1.0.conv.weight")
    assert to_canonical(spec, state)["encoder.1.block.0.conv.weight"] is state["twin.1.weight"]


def test_names_of_one_tensor_may_be_equal_copies(
    spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]
) -> None:
    """What is not finite is equal to itself too, and is told of the first name alone."""
    spec = spec_with(aliases={"twin.{i}.*": "enc{i}.0.conv.*"})
    state |= {f"twin.1.{leaf}": state[f"enc1.0.conv.{leaf}"].copy() for leaf in ("weight", "bias")}
    assert to_canonical(spec, state)["encoder.1.block.0.conv.bias"] is state["enc1.0.conv.bias"]
    state["enc1.0.conv.bias"][2] = state["twin.1.bias"][2] = np.nan
    with pytest.raises(WeightsError) as error:
        to_canonical(spec, state)
    assert str(error.value) == (
        "checkpoint: no test weights of unet_bn_same: enc1.0.conv.bias has nan at (2,), expected finite values"
    )


def test_names_of_one_tensor_that_is_no_number(
    spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]
) -> None:
    spec = spec_with(aliases={"twin.{i}.*": "enc{i}.0.conv.*"})
    state["enc1.0.conv.bias"] = np.array(list("abcd"))
    state["twin.1.bias"] = np.array(list("abcx"))
    with pytest.raises(WeightsError) as error:
        to_canonical(spec, state)
    assert str(error.value) == (
        "checkpoint: no test weights of unet_bn_same: enc1.0.conv.bias has dtype <U1, expected one of float64, "
        "float32, float16; twin.1.bias differs from enc1.0.conv.bias, of which it is another name"
    )


def test_aliases_of_aliases(spec_with: Callable[..., UNetSpec]) -> None:
    spec = spec_with(aliases={"copy.*": "enc0.*", "twin.{i}.*": "copy.{i}.*"})
    state = from_canonical(spec, initial_weights(spec))
    assert aliases_of(spec, "enc0.1.conv.bias") == ["copy.1.conv.bias", "twin.1.conv.bias"]
    assert state["twin.1.conv.bias"] is state["enc0.1.conv.bias"]


def test_an_endless_alias_ends(spec_with: Callable[..., UNetSpec]) -> None:
    with pytest.raises(SpecError, match=r"checkpoint\.aliases: give out\.bias more than 64 other names"):
        aliases_of(spec_with(aliases={"a.*": "*"}), "out.bias")


def test_a_tensor_has_so_many_names_and_no_more(spec_with: Callable[..., UNetSpec]) -> None:
    names = [f"a{number}" for number in range(MOST_ALIASES + 1)]
    most = spec_with(aliases={f"{name}.*": "out.*" for name in names[:-1]})
    assert aliases_of(most, "out.bias") == [f"{name}.bias" for name in names[:-1]]
    more = spec_with(aliases={f"{name}.*": "out.*" for name in names})
    with pytest.raises(SpecError) as error:
        aliases_of(more, "out.bias")
    assert str(error.value) == (
        "checkpoint.aliases: give out.bias more than 64 other names, for instance a64.bias; let no alias fit its own "
        "right side"
    )


def test_aliases_that_feed_each_other_end_at_once(spec_with: Callable[..., UNetSpec]) -> None:
    """Ten of them have 10! orders, in each of which a name could be made."""
    with pytest.raises(SpecError, match="more than 64 other names"):
        aliases_of(spec_with(aliases={f"{letter}.*": "*" for letter in "abcdefghij"}), "out.bias")


def test_an_alias_of_an_alias_is_followed(spec_with: Callable[..., UNetSpec]) -> None:
    aliases = {"second.*": "first.*", "first.*": "out.*"}
    assert aliases_of(spec_with(aliases=aliases), "out.bias") == ["first.bias", "second.bias"]


def test_our_own_scheme_is_no_name_for_another(spec_with: Callable[..., UNetSpec]) -> None:
    with pytest.raises((SpecError, ValueError), match="names our own way of naming"):
        spec_with(scheme="canonical")


@pytest.mark.parametrize("ignore", ["loss.*", "*.weight", "loss.weight", "*"])
def test_ignored_keys(spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray], ignore: str) -> None:
    spec = spec_with(ignore=[ignore])
    extra = state | {"loss.weight": np.zeros(3)}
    assert to_canonical(spec, extra).keys() == initial_weights(spec).keys()
    assert "loss.weight" not in from_canonical(spec, initial_weights(spec))


def test_brackets_in_what_is_ignored_are_text(spec_with: Callable[..., UNetSpec], state: dict[str, np.ndarray]) -> None:
    spec = spec_with(ignore=["los[sx]es", "ste?"])
    to_canonical(spec, state | {"los[sx]es": np.zeros(1), "ste?": np.zeros(1)})
    with pytest.raises(WeightsError) as error:
        to_canonical(spec, state | {"losses": np.zeros(1), "step": np.zeros(1)})
    assert str(error.value) == (
        "checkpoint: no test weights of unet_bn_same: unexpected losses, which no pattern fits; "
        "unexpected step, which no pattern fits"
    )


@pytest.mark.parametrize("base", ["unet_bn_same", "unet_paper"])
def test_another_order_of_the_merge(spec_with: Callable[..., UNetSpec], base: str) -> None:
    spec = spec_with(base, merge_order=["upsampled", "skip"])
    weights = initial_weights(spec)
    state = from_canonical(spec, weights)
    ours, theirs = weights["decoder.0.block.0.conv.weight"], state["dec2.0.conv.weight"]
    np.testing.assert_array_equal(theirs[:, :2], ours[:, 2:])  # the upsampled map's channels
    np.testing.assert_array_equal(theirs[:, 2:], ours[:, :2])
    assert state["dec2.1.conv.weight"] is weights["decoder.0.block.1.conv.weight"]
    for name, values in to_canonical(spec, state).items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)


def test_another_order_of_unequal_widths_goes_through_norms(changed_spec: Callable[..., UNetSpec]) -> None:
    """norm-activation-conv reads the merged map with a norm first, whose channels stand in the original's order too."""
    table = {"scheme": "test", "keys": {"net.*": "*"}, "merge_order": ["upsampled", "skip"]}
    changes = {
        "widths": [2, 4, 8],
        "block.order": ["norm", "activation", "conv"],
        "up.width": "same",
        "checkpoint": table,
    }
    spec = changed_spec(changes)
    weights = initial_weights(spec)
    state = from_canonical(spec, weights)
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        ours = weights[f"decoder.0.block.0.norm.{leaf}"]
        np.testing.assert_array_equal(state[f"net.decoder.0.block.0.norm.{leaf}"], np.r_[ours[2:], ours[:2]])
    ours = weights["decoder.0.block.0.conv.weight"]
    np.testing.assert_array_equal(
        state["net.decoder.0.block.0.conv.weight"], np.concatenate([ours[:, 2:], ours[:, :2]], axis=1)
    )
    for name, values in to_canonical(spec, state).items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)


def test_an_order_that_no_weights_make_up_for_is_refused(changed_spec: Callable[..., UNetSpec]) -> None:
    table = {"scheme": "test", "keys": {"net.*": "*"}, "merge_order": ["upsampled", "skip"]}
    norm = {"kind": "group", "groups": 2, "epsilon": 1e-5}
    order = {"block.order": ["norm", "conv", "activation"], "norm": norm}
    spec = changed_spec({"in_channels": 2, "widths": [2, 4], "checkpoint": table} | order)
    with pytest.raises(SpecError, match=r"checkpoint\.merge_order: decoder\.0\.block\.0\.norm is a group_norm"):
        from_canonical(spec, initial_weights(spec))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keys": {"a.{i}.*": "b.{j}.*"}},
            "checkpoint.keys: got 'a.{i}.*' = 'b.{j}.*', expected the same {names} and *",
        ),
        ({"keys": {"a.*": "b"}}, "expected the same {names} and * on both sides"),
        ({"keys": {"a.*.b": "c.*"}}, "got 'a.*.b', expected * at the end alone"),
        ({"keys": {"a.{i*2}": "c.{i}"}}, "got {i*2} in 'a.{i*2}', expected for instance {i}"),
        ({"keys": {"a.{i": "c.{i}"}}, "got 'a.{i', expected braces in pairs"),
        ({"aliases": {"a.{}": "c.{i}"}}, "checkpoint.aliases: got {} in"),
        ({"merge_order": ["skip", "skip"]}, "checkpoint.merge_order: got ['skip', 'skip'], expected"),
        ({"scheme": "no spaces"}, "checkpoint.scheme"),
        ({"patterns": {}}, "unknown key checkpoint.patterns; remove it"),
    ],
    ids=str,
)
def test_bad_tables_are_refused(spec_with: Callable[..., UNetSpec], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        spec_with(**changes)
    assert message in str(error.value)


def test_a_map_that_leaves_tensors_out_is_refused(spec_with: Callable[..., UNetSpec]) -> None:
    spec = spec_with(keys={left: right for left, right in KEYS.items() if left != "out.*"})
    with pytest.raises(
        SpecError, match=r"checkpoint\.keys: no pattern gives head\.weight; no pattern gives head\.bias"
    ):
        to_canonical(spec, {})


def test_a_map_that_gives_two_tensors_one_key_is_refused(spec_with: Callable[..., UNetSpec]) -> None:
    spec = spec_with(keys=KEYS | {"enc{i}.{j}.*": "encoder.{i}.block.{j}.*", "out.{i}.*": "decoder.{i}.up.*"})
    assert original_keys(spec)  # dec{i}.up.* comes first
    spec = spec_with(keys={"enc0.0.conv.weight": "head.weight"} | KEYS)
    with pytest.raises(SpecError, match=r"enc0\.0\.conv\.weight would be encoder\.0\.block\.0\.conv\.weight and head"):
        original_keys(spec)


def test_a_spec_without_a_map_says_so() -> None:
    with pytest.raises(SpecError, match=r"unet_same: has no \[checkpoint\] table"):
        to_canonical(load_spec("unet_same"), {})


def test_the_map_is_no_part_of_the_function(spec_with: Callable[..., UNetSpec]) -> None:
    one, other = spec_with(), spec_with(scheme="another")
    assert one.fingerprint == other.fingerprint
    assert hash(one) != hash(other)
