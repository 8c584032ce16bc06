"""Whose names a checkpoint's tensors have, with what before them, and what it is instead where they fit none."""

from __future__ import annotations

import numpy as np
import pytest

from shared_specs import SpecError, UNetSpec, initial_weights, load_spec
from shared_specs.naming import taken_off
from shared_specs.schemes import check_scheme

from .lab_names import SMALL, Changed, Weights, extras, found, refusal


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.model.", "net.network."])
@pytest.mark.parametrize("scheme", ["canonical", "lab"])
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "to be seen"])
def test_names_tell_whose_they_are(
    spec: UNetSpec, weights: Weights, theirs: Weights, scheme: str, prefix: str, is_told: bool
) -> None:
    tensors = {prefix + name: values for name, values in {"canonical": weights, "lab": theirs}[scheme].items()}
    recognised = found(spec, tensors, scheme=scheme if is_told else None)
    assert (recognised.scheme, recognised.prefix) == (scheme, prefix)
    assert recognised.weights.keys() == weights.keys()
    assert all(np.array_equal(values, weights[name]) for name, values in recognised.weights.items())


def test_one_name_of_a_tensor_will_do_and_what_is_ignored_is_no_matter(spec: UNetSpec, theirs: Weights) -> None:
    more = {"a.counter": np.zeros(1), "step[0]": np.zeros(1)}
    for left_out in ("out", "final"):
        tensors = {name: values for name, values in theirs.items() if not name.startswith(left_out)}
        assert found(spec, tensors | more).scheme == "lab"
    assert refusal(spec, theirs | {"step0": np.zeros(1)}) == (
        "nearly weights of unet_bn_same (lab names): unexpected step0; rename, add or leave out these, or take the "
        "spec of this network"
    )


@pytest.mark.parametrize("scheme", ["lab", None])
def test_what_stands_beside_the_network_is_left_out_and_told(
    spec: UNetSpec, weights: Weights, theirs: Weights, scheme: str | None
) -> None:
    beside = {"criterion.weight": np.zeros(2), "ema.out.bias": np.zeros(2)}
    tensors = {f"model.{name}": values for name, values in theirs.items()} | beside
    recognised = found(spec, tensors, scheme=scheme)
    assert recognised.weights.keys() == weights.keys()
    assert taken_off(recognised.prefix, tensors) == [
        "taken off the names: 'model.', leaving what has it not: criterion.weight, ema.out.bias"
    ]
    assert taken_off("model.", ["model.a"]) == ["taken off every name: 'model.'"]
    assert taken_off("", tensors) == []
    assert "unexpected model.more" in refusal(spec, theirs | {"model.more": np.zeros(1)})


def test_a_scheme_that_the_spec_has_not(spec: UNetSpec, weights: Weights, changed_spec: Changed) -> None:
    with pytest.raises(SpecError) as error:
        found(spec, weights, scheme="x")
    assert str(error.value) == "unet_bn_same knows no scheme 'x'; take one of canonical, lab"
    with pytest.raises(SpecError, match=r"no scheme 'lab'; take one of canonical$"):
        check_scheme(changed_spec(SMALL), "lab")


def test_names_of_another_scheme_than_was_told_are_listed_one_by_one(
    spec: UNetSpec, weights: Weights, theirs: Weights
) -> None:
    listed = refusal(spec, weights, scheme="lab")
    assert listed.startswith("no lab weights of unet_bn_same: missing dec0.c0.bias (4,), which is decoder.0.block.0.")
    assert listed.count("; ") == 19
    listed = refusal(spec, theirs, scheme="canonical")
    assert listed.startswith("not weights of unet_bn_same: missing decoder.0.block.0.conv.bias (4,); missing")


def test_names_that_fit_both(changed_spec: Changed) -> None:
    spec = changed_spec(SMALL | {"checkpoint": {"scheme": "lab", "keys": {"*": "*"}}})
    weights = initial_weights(spec)
    assert refusal(spec, weights) == "the names fit canonical and lab; say which they are, with --from"
    assert found(spec, weights, scheme="lab").scheme == "lab"


NONE = (
    "the names are none of unet_bn_same's: not canonical (missing encoder.0.block.0.conv.weight, "
    "encoder.0.block.0.conv.bias, encoder.1.block.0.conv.weight and 7 more{more}); not lab (missing enc0.c0.weight, "
    "enc0.c0.bias, enc1.c0.weight and 7 more{more}); take the spec of this network, or name the scheme with --from for "
    "the whole list"
)


@pytest.mark.parametrize(("count", "more"), [(12, "; unexpected a0, a1, a2 and 9 more"), (0, "")])
def test_names_that_fit_none(spec: UNetSpec, count: int, more: str) -> None:
    assert refusal(spec, extras(count)) == NONE.format(more=more)


def test_a_network_of_the_zoo_that_is_nearer_is_named(changed_spec: Changed) -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    told = refusal(spec, initial_weights(load_spec("unet_same").narrow(16)))
    assert told.endswith("; all names fit unet_same: take that spec, or name the scheme with --from for the whole list")
    almost = initial_weights(load_spec("unet_same").narrow(16))
    almost["more"] = np.zeros(1)
    assert "; only 1 name differs from unet_same: take that spec, or name" in refusal(spec, almost)
    almost["most"] = np.zeros(1)
    assert "; only 2 names differ from unet_same: take that spec, or name" in refusal(spec, almost)


def test_parameters_without_running_statistics_are_told_in_short() -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    parameters = {name: values for name, values in initial_weights(spec).items() if ".running_" not in name}
    assert refusal(spec, parameters) == (
        "has the parameters of unet_bn_same and none of the 36 running statistics of its batch norms; save these too: "
        "module.state_dict(), nnx.state(module), or batch_stats beside params"
    )
    parameters["encoder.0.block.0.norm.running_mean"] = np.zeros(4)
    assert "and none of the" not in refusal(spec, parameters)


def test_a_spec_without_a_key_map_has_its_own_names_alone(changed_spec: Changed, theirs: Weights) -> None:
    told = refusal(changed_spec(SMALL), theirs)
    assert told.count("not canonical") == 1 and "lab" not in told
