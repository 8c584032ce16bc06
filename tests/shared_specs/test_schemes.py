"""Whose names a checkpoint's tensors have, with what before them, and what it is instead where they fit none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shared_specs import SpecError, UNetSpec, WeightsError, initial_weights, load_spec
from shared_specs.checkpoints import to_canonical
from shared_specs.keymap import from_canonical
from shared_specs.misfits import FEW, nearer
from shared_specs.naming import arrays, compared, prefixes, taken_off
from shared_specs.schemes import Recognised, check_scheme, recognise

Weights = dict[str, np.ndarray]
Changed = Callable[..., UNetSpec]

LAB = {
    "scheme": "lab",
    "ignore": ["*.counter", "step[0]"],
    "keys": {
        "enc{i}.c{j}.*": "encoder.{i}.block.{j}.conv.*",
        "dec{i}.c{j}.*": "decoder.{i}.block.{j}.conv.*",
        "up{i}.*": "decoder.{i}.up.*",
        "out.*": "head.*",
    },
    "aliases": {"final.*": "out.*"},
}
SMALL = {
    "norm": {"kind": "none"},
    "block.order": ["conv", "activation"],
    "block.convolutions": 1,
    "in_channels": 1,
    "out_channels": 2,
    "widths": [4, 8],
}


@pytest.fixture
def spec(changed_spec: Changed) -> UNetSpec:
    return changed_spec(SMALL | {"checkpoint": LAB})


@pytest.fixture
def weights(spec: UNetSpec) -> Weights:
    return initial_weights(spec)


@pytest.fixture
def theirs(spec: UNetSpec, weights: Weights) -> Weights:
    return from_canonical(spec, weights)


def found(spec: UNetSpec, tensors: Weights, **how: Any) -> Recognised:
    return recognise(spec, tensors, to_canonical, "file.pt", **how)


def refusal(spec: UNetSpec, tensors: Weights, **how: Any) -> str:
    with pytest.raises(WeightsError) as error:
        found(spec, tensors, **how)
    return str(error.value).removeprefix("file.pt: ")


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


def test_a_prefix_is_one_that_a_third_of_the_names_have() -> None:
    """A network beside the average of its weights, and the weights of a loss."""
    some = {"module.model.a": np.zeros(1), "module.ema.a": np.zeros(1), "module.loss.a": np.zeros(1)}
    assert prefixes(some) == ["", "module.", "module.model."]
    assert prefixes(some | {"module.loss.b": np.zeros(1)}) == ["", "module."]
    assert prefixes({"modules": np.zeros(1)}) == prefixes({}) == [""]


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
    assert refusal(spec, {f"a{n}": np.zeros(1) for n in range(count)}) == NONE.format(more=more)


def renamed(weights: Weights, count: int) -> Weights:
    return {f"a{n}" if n < count else name: values for n, (name, values) in enumerate(weights.items())}


@pytest.mark.parametrize(
    ("count", "more", "near"), [(1, 0, True), (4, 0, True), (5, 0, False), (1, 6, True), (1, 7, False)]
)
def test_a_few_names_that_differ_are_all_named(
    spec: UNetSpec, weights: Weights, count: int, more: int, near: bool
) -> None:
    """Of ten tensors fewer than half may be missing, and eight names may differ in all."""
    tensors = renamed(weights, count) | {f"b{n}": np.zeros(1) for n in range(more)}
    told = refusal(spec, tensors)
    assert told.startswith(
        "nearly weights of unet_bn_same (canonical names): missing " if near else "the names are none"
    )
    if near:
        assert all(name in told for name in [*tensors.keys() - weights.keys(), *weights.keys() - tensors.keys()])


def test_a_network_of_the_zoo_that_is_nearer_is_named(changed_spec: Changed) -> None:
    spec = load_spec("unet_bn_same").narrow(16)
    told = refusal(spec, initial_weights(load_spec("unet_same").narrow(16)))
    assert told.endswith("; all names fit unet_same: take that spec, or name the scheme with --from for the whole list")
    almost = initial_weights(load_spec("unet_same").narrow(16))
    almost["more"] = np.zeros(1)
    assert "; only 1 name differs from unet_same: take that spec, or name" in refusal(spec, almost)
    almost["most"] = np.zeros(1)
    assert "; only 2 names differ from unet_same: take that spec, or name" in refusal(spec, almost)


def test_of_networks_with_the_same_names_the_shapes_tell_which(weights: Weights) -> None:
    """unet_same and unet_paper differ in padding alone; what has the widths of both is near to both."""
    tensors = initial_weights(load_spec("unet_same"), dtype=np.float16)
    none = min(compared(load_spec("unet_bn_same"), tensors, to_canonical), key=lambda differences: differences.count)
    told = nearer(load_spec("unet_bn_same"), tensors, to_canonical, none)
    assert told.startswith("all names fit ") and told.endswith(": take that spec")
    names = told.removeprefix("all names fit ").removesuffix(": take that spec").split(" and ")
    assert "unet_same" in names and len(names) <= FEW
    by_name = {tensor.name: tensor.shape for tensor in load_spec("unet_same").tensors}
    for name in names:
        assert {tensor.name: tensor.shape for tensor in load_spec(name).tensors} == by_name


OF_ANOTHER_WIDTH = (
    "9 of 10 tensors have another shape than in unet_bn_same of widths {ours}: encoder.0.block.0.conv.weight is "
    "({a}, 1, 3, 3), expected ({b}, 1, 3, 3), encoder.0.block.0.conv.bias is ({a},), expected ({b},), "
    "encoder.1.block.0.conv.weight is ({c}, {a}, 3, 3), expected ({d}, {b}, 3, 3) and 6 more; all of them fit widths "
    "{theirs}: {advice}"
)


def test_another_width_is_named(spec: UNetSpec, weights: Weights, theirs: Weights) -> None:
    half = spec.narrow(2)
    narrow = OF_ANOTHER_WIDTH.format(ours=[4, 8], theirs=[2, 4], a=2, b=4, c=4, d=8, advice="give --narrow 2")
    assert refusal(spec, initial_weights(half)) == refusal(spec, initial_weights(half), scheme="canonical") == narrow
    wide = OF_ANOTHER_WIDTH.format(ours=[2, 4], theirs=[4, 8], a=4, b=2, c=8, d=4, advice="leave --narrow out")
    assert refusal(half, weights, full=spec) == wide
    assert refusal(half, theirs, full=spec).endswith(": leave --narrow out")
    assert found(half, initial_weights(half), full=spec).scheme == "canonical"


def test_shapes_of_no_width_are_a_few_or_listed_where_that_is_asked_for(spec: UNetSpec, weights: Weights) -> None:
    odd = {name: np.zeros((3, *values.shape[1:])) for name, values in weights.items()}
    assert refusal(spec, odd) == (
        "10 of 10 tensors have another shape than in unet_bn_same of widths [4, 8]: encoder.0.block.0.conv.weight is "
        "(3, 1, 3, 3), expected (4, 1, 3, 3), encoder.0.block.0.conv.bias is (3,), expected (4,), "
        "encoder.1.block.0.conv.weight is (3, 4, 3, 3), expected (8, 4, 3, 3) and 7 more; take the spec of this "
        "network, or name the scheme with --from for the whole list"
    )
    assert refusal(spec, odd, scheme="canonical").count("expected") == 10


@pytest.mark.parametrize(
    ("count", "start"), [(3, "not weights of unet_bn_same: "), (4, "4 of 10 tensors have another")]
)
def test_up_to_three_wrong_shapes_are_listed_as_they_are(
    spec: UNetSpec, weights: Weights, count: int, start: str
) -> None:
    wrong = {name: np.zeros((7, 7)) if n < count else values for n, (name, values) in enumerate(weights.items())}
    assert refusal(spec, wrong).startswith(start)


def test_scalars_and_nothing_are_no_widths(spec: UNetSpec, weights: Weights) -> None:
    wrong = {name: np.zeros((0, 5)) if values.ndim > 1 else np.float64(1) for name, values in weights.items()}
    assert "all of them fit" not in refusal(spec, wrong)


def test_arrays_are_found_by_canonical_name_with_the_name_that_they_have(
    spec: UNetSpec, weights: Weights, theirs: Weights
) -> None:
    theirs = {f"module.{name}": values for name, values in theirs.items() if name != "out.bias" and "up0" not in name}
    (fit,) = [d for d in compared(spec, theirs, to_canonical) if (d.scheme, d.prefix) == ("lab", "module.")]
    assert (fit.missing, fit.unexpected, fit.count) == (["up0.weight", "up0.bias"], [], 2)
    assert str(fit) == "not lab (missing up0.weight, up0.bias)"
    names = {name: key for name, (key, _) in arrays(spec, theirs, to_canonical, fit).items()}
    assert names["head.bias"] == "final.bias" and names["head.weight"] == "out.weight"
    assert list(names) == [name for name in weights if ".up." not in name]
    some = {name: values for name, values in weights.items() if name != "head.bias"}
    own = compared(spec, some, to_canonical)[0]
    assert list(arrays(spec, some, to_canonical, own)) == list(some)
    assert own.missing == ["head.bias"]


def test_a_spec_without_a_key_map_has_its_own_names_alone(changed_spec: Changed, theirs: Weights) -> None:
    told = refusal(changed_spec(SMALL), theirs)
    assert told.count("not canonical") == 1 and "lab" not in told
