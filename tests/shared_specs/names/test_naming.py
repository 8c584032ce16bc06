"""Which names of a scheme a checkpoint lacks and has besides, under each prefix that stands before all of them."""

from __future__ import annotations

import numpy as np

from shared_specs import UNetSpec
from shared_specs.checkpoints import to_canonical
from shared_specs.keymap import original_keys
from shared_specs.naming import Differences, Tensors, arrays, compared, differences, prefixes

from .lab_names import Weights, extras


def test_a_prefix_is_one_that_a_third_of_the_names_have() -> None:
    """A network beside the average of its weights, and the weights of a loss."""
    some = {"module.model.a": np.zeros(1), "module.ema.a": np.zeros(1), "module.loss.a": np.zeros(1)}
    assert prefixes(some) == ["", "module.", "module.model."]
    assert prefixes(some | {"module.loss.b": np.zeros(1)}) == ["", "module."]
    assert prefixes({"modules": np.zeros(1)}) == prefixes({}) == [""]


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


def test_differences_are_told_by_their_first_names() -> None:
    both = Differences("lab", "net.", ["a", "b", "c", "d"], ["e", "f", "g", "h", "i"])
    assert str(both) == "not lab (missing a, b, c and 1 more; unexpected e, f, g and 2 more)"
    assert both.listed(4) == "missing a, b, c, d; unexpected e, f, g, h and 1 more"
    assert both.count == 9
    assert str(Differences("lab", "", [], ["e"])) == "not lab (unexpected e)"
    assert Differences("lab", "", [], []).listed() == ""


def test_what_a_scheme_ignores_and_other_names_of_a_tensor_are_expected(spec: UNetSpec, theirs: Weights) -> None:
    tensors = theirs | {"a.counter": np.zeros(1), "step[0]": np.zeros(1)}
    assert differences(spec, tensors, "lab", "net.") == Differences("lab", "net.", [], [])
    own = differences(spec, tensors, "canonical", "")
    assert (own.missing, own.unexpected) == ([tensor.name for tensor in spec.tensors], list(tensors))
    del tensors["out.weight"], tensors["enc0.c0.bias"]
    more = tensors | {"step0": np.zeros(1)}
    assert differences(spec, more, "lab", "") == Differences("lab", "", ["enc0.c0.bias"], ["step0"])


def test_names_are_compared_with_each_scheme_under_each_prefix(spec: UNetSpec, weights: Weights) -> None:
    """Those of a module of ours become canonical ones first; of our scheme alone, as another has what is there."""
    tensors = {f"module.net.{name}": values for name, values in (weights | extras(1)).items()}
    keys, names = list(original_keys(spec).values()), list(weights)

    def without_extra(spec: UNetSpec, tensors: Tensors) -> Weights:
        return {name: values for name, values in tensors.items() if not name.endswith("a0")}

    assert compared(spec, tensors, without_extra) == [
        Differences("canonical", "", names, [f"module.net.{name}" for name in names]),
        Differences("lab", "", keys, [f"module.net.{name}" for name in [*names, "a0"]]),
        Differences("canonical", "module.", names, [f"net.{name}" for name in names]),
        Differences("lab", "module.", keys, [f"net.{name}" for name in [*names, "a0"]]),
        Differences("canonical", "module.net.", [], []),
        Differences("lab", "module.net.", keys, [*names, "a0"]),
    ]
