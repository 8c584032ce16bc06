"""What a checkpoint that does not fit is more likely to be: another width of the network, or another network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from shared_specs import UNetSpec, initial_weights, load_spec, misfits
from shared_specs.checkpoints import to_canonical
from shared_specs.keymap import from_canonical
from shared_specs.misfits import FEW, lacks_statistics_alone, names_problem, nearer
from shared_specs.naming import Differences

from .lab_names import LAB, SMALL, Changed, Weights, extras, found, refusal

Zoo = Callable[..., None]


@pytest.fixture(autouse=True)
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Takes the networks that are all of the zoo; none by default, as to read the real ones takes longer."""

    def holds(*specs: UNetSpec) -> None:
        monkeypatch.setattr(misfits, "spec_names", lambda: [spec.name for spec in specs])
        monkeypatch.setattr(misfits, "load_spec", {spec.name: spec for spec in specs}.__getitem__)

    holds()
    return holds


def differ(scheme: str, missing: int, unexpected: int, prefix: str = "") -> Differences:
    return Differences(scheme, prefix, [f"m{n}" for n in range(missing)], [f"u{n}" for n in range(unexpected)])


MEND = "rename, add or leave out these, or take the spec of this network"
WHOLE = "or name the scheme with --from for the whole list"


@pytest.mark.parametrize(
    ("tried", "told"),
    [
        (
            [differ("canonical", 9, 9), differ("lab", 4, 4)],
            f"nearly weights of unet_bn_same (lab names): missing m0, m1, m2, m3; unexpected u0, u1, u2, u3; {MEND}",
        ),
        (
            [differ("canonical", 0, 8), differ("lab", 9, 9)],
            f"nearly weights of unet_bn_same (canonical names): unexpected u0, u1, u2, u3, u4, u5, u6, u7; {MEND}",
        ),
        (
            [differ("canonical", 0, 9)],
            "the names are none of unet_bn_same's: not canonical (unexpected u0, u1, u2 and 6 more); "
            f"take the spec of this network, {WHOLE}",
        ),
        (
            [differ("canonical", 5, 0)],
            "the names are none of unet_bn_same's: not canonical (missing m0, m1, m2 and 2 more); "
            f"take the spec of this network, {WHOLE}",
        ),
        (
            [
                differ("canonical", 9, 9),
                differ("lab", 9, 2),
                differ("canonical", 6, 1, "net."),
                differ("lab", 8, 8, "net."),
            ],
            "the names are none of unet_bn_same's: not canonical (missing m0, m1, m2 and 3 more; unexpected u0); "
            f"not lab (missing m0, m1, m2 and 6 more; unexpected u0, u1); take the spec of this network, {WHOLE}",
        ),
    ],
    ids=["eight differ", "eight besides", "nine differ", "half are missing", "each scheme's nearest"],
)
def test_names_that_fit_no_scheme(spec: UNetSpec, tried: list[Differences], told: str) -> None:
    """Of ten tensors fewer than half may be missing, and eight names may differ in all; then every one is named."""
    assert names_problem(spec, {}, to_canonical, tried) == told


def test_a_nearer_network_is_named_with_how_the_names_differ(spec: UNetSpec, zoo: Zoo, changed_spec: Changed) -> None:
    deeper = changed_spec(SMALL | {"name": "deeper", "widths": [4, 8, 16]})
    zoo(spec, deeper)
    tensors = initial_weights(deeper)
    assert names_problem(spec, tensors, to_canonical, [differ("lab", 4, 4)]) == (
        "nearly weights of unet_bn_same (lab names): missing m0, m1, m2, m3; unexpected u0, u1, u2, u3; "
        "all names fit deeper: take that spec"
    )
    assert names_problem(spec, tensors, to_canonical, [differ("lab", 5, 0)]) == (
        "the names are none of unet_bn_same's: not lab (missing m0, m1, m2 and 2 more); "
        f"all names fit deeper: take that spec, {WHOLE}"
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (0, "all names fit deeper: take that spec"),
        (1, "only 1 name differs from deeper: take that spec"),
        (2, "only 2 names differ from deeper: take that spec"),
        (3, ""),
        (4, ""),
    ],
)
def test_a_network_is_nearer_where_fewer_names_differ(
    spec: UNetSpec, zoo: Zoo, changed_spec: Changed, more: int, told: str
) -> None:
    """The network itself is none, though its names differ less under another title."""
    deeper = changed_spec(SMALL | {"name": "deeper", "widths": [4, 8, 16]})
    zoo(changed_spec(SMALL | {"name": "again", "title": "the same"}), deeper)
    assert nearer(spec, initial_weights(deeper) | extras(more), to_canonical, differ("lab", 0, 3)) == told
    assert nearer(spec, initial_weights(spec) | extras(more), to_canonical, differ("lab", 0, 3)) == ""


def test_of_networks_that_are_all_far_none_is_nearer(spec: UNetSpec, zoo: Zoo, changed_spec: Changed) -> None:
    zoo(deeper := changed_spec(SMALL | {"name": "deeper", "widths": [4, 8, 16]}))
    assert nearer(spec, extras(3), to_canonical, differ("lab", 99, 99)) == ""
    names = [tensor.name for tensor in deeper.tensors]
    few = {name: np.zeros(1) for name in names[: len(names) // 2]}
    assert nearer(spec, few, to_canonical, differ("lab", 99, 99)) == ""
    few[names[-1]] = np.zeros(1)
    assert nearer(spec, few, to_canonical, differ("lab", 99, 99)).endswith("names differ from deeper: take that spec")


def test_of_networks_with_the_same_names_the_shapes_tell_which(spec: UNetSpec, zoo: Zoo, changed_spec: Changed) -> None:
    named = {
        "wide": {"widths": [8, 16]},
        "leaky": {"activation": {"kind": "leaky_relu", "slope": 0.1}},
        "wider": {"widths": [16, 32]},
        "smooth": {"activation": {"kind": "gelu", "approximation": "none"}},
    }
    networks = {name: changed_spec(SMALL | {"name": name} | change) for name, change in named.items()}
    zoo(*networks.values())
    far = differ("canonical", 0, 2)
    weights = initial_weights(spec)
    assert nearer(spec, weights, to_canonical, far) == "all names fit leaky and smooth: take that spec"
    theirs = initial_weights(networks["wider"]) | extras(1)
    assert nearer(spec, theirs, to_canonical, far) == "only 1 name differs from wider: take that spec"
    many = [changed_spec(SMALL | {"name": f"n{n}", "conv.dilation": 2, "conv.padding": 2 + n}) for n in range(9)]
    zoo(*many)
    all_of_them = " and ".join(f"n{n}" for n in range(FEW))
    assert nearer(spec, weights, to_canonical, far) == f"all names fit {all_of_them}: take that spec"


def test_a_nearer_network_may_have_the_names_of_its_original(spec: UNetSpec, zoo: Zoo, changed_spec: Changed) -> None:
    deeper = changed_spec(SMALL | {"name": "deeper", "widths": [4, 8, 16], "checkpoint": LAB})
    zoo(deeper)
    tensors = {f"module.{name}": values for name, values in from_canonical(deeper, initial_weights(deeper)).items()}
    assert nearer(spec, tensors, to_canonical, differ("lab", 4, 0)) == "all names fit deeper: take that spec"


OF_ANOTHER_WIDTH = (
    "9 of 10 tensors have another shape than in unet_bn_same of widths {ours}: encoder.0.block.0.conv.weight is "
    "({a}, 1, 3, 3), expected ({b}, 1, 3, 3), encoder.0.block.0.conv.bias is ({a},), expected ({b},), "
    "encoder.1.block.0.conv.weight is ({c}, {a}, 3, 3), expected ({d}, {b}, 3, 3) and 6 more; all of them fit widths "
    "{theirs}: {advice}"
)


STATISTICS_MISSING = {
    "all of them": (lambda names: (names, []), True),
    "all of them, and something is there beside": (lambda names: (names, ["head.colour"]), False),
    "all but one": (lambda names: (names[1:], []), False),
    "all but one, and a weight": (lambda names: ([*names[1:], "head.weight"], []), False),
    "as many weights": (lambda names: ([f"head.{number}.weight" for number in range(len(names))], []), False),
    "none": (lambda names: ([], []), False),
}
"""From the names of all statistics to what is missing and what is unexpected, and whether only the statistics lack."""


@pytest.mark.parametrize("case", STATISTICS_MISSING)
def test_statistics_alone_are_missing_or_more_is(case: str) -> None:
    apart, expected = STATISTICS_MISSING[case]
    normed = load_spec("unet_bn_same")
    names = [tensor.name for tensor in normed.tensors if not tensor.trainable]
    assert len(names) > 2
    assert lacks_statistics_alone(normed, Differences("canonical", "", *apart(names))) is expected


def test_where_there_are_no_statistics_none_are_missing(spec: UNetSpec) -> None:
    assert all(tensor.trainable for tensor in spec.tensors)
    assert not lacks_statistics_alone(spec, Differences("canonical", "", [], []))


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
    wrong = {name: np.zeros((0, 5) if values.ndim > 1 else ()) for name, values in weights.items()}
    assert "all of them fit" not in refusal(spec, wrong)


def test_a_ratio_by_which_no_width_can_be_divided_is_passed_over(changed_spec: Changed) -> None:
    """Ten channels, of which one is the image's, become two where the widths are divided by nine: a fifth."""
    changes = {
        "widths": [1, 9],
        "decoder_widths": [9],
        "up.width": "same",
        "override": [{"part": "encoder", "levels": [0], "block": {"convolutions": 0}}],
    }
    spec = changed_spec(SMALL | changes)
    assert refusal(spec, initial_weights(spec.narrow(9))).endswith("; all of them fit widths [1, 1]: give --narrow 9")
