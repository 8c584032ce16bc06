"""Verdicts built by hand: which difference is first, and every word and every key of what is printed and saved."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Execution
from parity.verdict import Measurement, NotCompared, Verdict, measure, told_apart
from shared_specs import Recipe, load_spec

PAIR = ("numpy_reference", "pytorch")
LOGITS = Measurement(*PAIR, "forward", "logits", 1234.5, 2e-16, 0.25, 0.125, (1, 0, 2), 1.5, 1.75, 64.0)
LAYER = replace(LOGITS, probe="activations", quantity="encoder.0.block.0.conv", distance=65.0)
SOUND = replace(LAYER, quantity="head", distance=64.0, index=())
BIAS = Measurement(
    *PAIR, "structure", "head.bias", math.inf, 0.0, math.inf, math.inf, None, math.nan, math.nan, 64.0
)  # fmt: skip
OTHER = replace(SOUND, candidate="flax_nnx", distance=3.0)

ROWS = """\
unet_paper, float64, two images
 pair probe worst quantity distance max abs max rel at values
 numpy_reference | pytorch forward logits 1.23e+03 0.25 0.125 [1, 0, 2] 1.5 | 1.75
 numpy_reference | pytorch activations encoder.0.block.0.conv 65 0.25 0.125 [1, 0, 2] 1.5 | 1.75
 numpy_reference | flax_nnx activations head 3 0.25 0.125 [] 1.5 | 1.75
"""

TABLE = """\
unet_paper, float64, two images
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┳━━━━┳━━━━━━━━━━━━┓
┃ pair                      ┃ probe       ┃ worst quantity         ┃ distance ┃  max abs ┃  max rel ┃ at ┃ values     ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━╇━━━━╇━━━━━━━━━━━━┩
│ numpy_reference | pytorch │ activations │ encoder.0.block.0.conv │       65 │ 1.25e-10 │ 1.25e-11 │    │ 1.5 | 1.75 │
└───────────────────────────┴─────────────┴────────────────────────┴──────────┴──────────┴──────────┴────┴────────────┘
"""


@pytest.fixture
def verdict() -> Verdict:
    return Verdict(
        spec=load_spec("unet_paper"),
        execution=Execution(precision="float64"),
        recipe=Recipe(),
        seed=7,
        batch_shape=(2, 1, 188, 189),
        batch_origin="two images",
        steps=3,
        models=(*PAIR, "flax_nnx"),
        measurements=(LOGITS, SOUND, LAYER, OTHER),
    )


def lines(verdict: Verdict) -> list[str]:
    """The text without its rules, each line's cells one space apart."""
    cells = [line.strip(" ┃│").replace("┃", " ").replace("│", " ") for line in str(verdict).splitlines()]
    return [" ".join(line.split()) for line in cells if line and line[0] not in "┏┡└━"]


def test_the_table_has_the_worst_quantity_of_each_pair_and_probe(verdict: Verdict) -> None:
    text = lines(verdict)
    assert text[:-1] == [" ".join(row.split()) for row in ROWS.splitlines()]
    assert text[-1] == f"first difference: {LAYER}"


def test_figures_are_flush_right_and_words_flush_left(verdict: Verdict) -> None:
    long = replace(LAYER, max_abs_error=1.25e-10, max_rel_error=1.25e-11, index=None)
    printed = str(replace(verdict, measurements=(long, SOUND))).splitlines()
    assert [line.rstrip() for line in printed[:6]] == TABLE.splitlines()


def test_a_sound_verdict_ends_with_equal_and_an_empty_one_does_not(verdict: Verdict) -> None:
    assert lines(replace(verdict, measurements=(SOUND,)))[-1] == "equal"
    assert lines(replace(verdict, measurements=()))[-1] == "nothing was compared"


def test_what_looks_like_markup_is_printed_as_it_is(verdict: Verdict) -> None:
    named = replace(LAYER, quantity="[red]conv[/red]")
    assert "\x1b" not in str(replace(verdict, measurements=(named,)))
    assert lines(replace(verdict, measurements=(named,)))[-1] == f"first difference: {named}"


def test_a_row_of_another_shape_has_no_place(verdict: Verdict) -> None:
    assert lines(replace(verdict, measurements=(BIAS,)))[2:] == [
        "numpy_reference | pytorch structure head.bias inf inf inf nan | nan",
        "first difference: structure: head.bias: pytorch and numpy_reference have different shapes, or one of them "
        "lacks it",
    ]


def test_a_difference_says_where_and_how_far() -> None:
    assert str(LOGITS) == (
        "forward: logits: pytorch has 1.75 at [1, 0, 2], numpy_reference 1.5: 1.23e+03 noise floors apart (limit 64)"
    )
    assert str(SOUND) == "activations: head: pytorch has 1.75, numpy_reference 1.5: 64 noise floors apart (limit 64)"


@pytest.mark.parametrize(
    ("one", "other", "least", "shown"),
    [
        (1.5, 1.75, 9, ("1.5", "1.75")),
        (1 / 3, 1 / 3, 9, ("0.333333333", "0.333333333")),
        (1 / 3, 1 / 3 + 1e-12, 9, ("0.333333333333", "0.333333333334")),
        (1.0, float(np.nextafter(1.0, 2.0)), 9, ("1", "1.0000000000000002")),
        (1234567890.0, 1234567891.0, 9, ("1234567890", "1234567891")),
        (1 / 3, 1 / 3 + 1e-12, 17, ("0.33333333333333331", "0.33333333333433329")),
        (np.nan, 1.0, 9, ("nan", "1")),
        (np.nan, np.nan, 9, ("nan", "nan")),
    ],
    ids=["plain", "equal", "later digits", "last bit", "counts", "all digits", "nan", "both nan"],
)
def test_two_values_that_differ_never_look_alike(one: float, other: float, least: int, shown: tuple[str, str]) -> None:
    assert told_apart(one, other, least) == shown
    if least == 9:
        assert told_apart(one, other) == shown


def test_a_difference_beyond_the_ninth_digit_shows_in_the_line_and_in_the_table(verdict: Verdict) -> None:
    near = replace(LAYER, reference_value=1.0, candidate_value=1.0 + 1e-12)
    assert "pytorch has 1.000000000001 at [" in str(near) and ", numpy_reference 1: " in str(near)
    assert any("1 | 1.000000000001" in line for line in lines(replace(verdict, measurements=(near,))))


def test_the_limit_itself_is_equal(verdict: Verdict) -> None:
    assert SOUND.equal
    assert not replace(SOUND, distance=np.nextafter(64.0, 65.0)).equal
    assert verdict.differences == [LOGITS, LAYER]


@pytest.mark.parametrize(
    ("measurements", "first"),
    [
        ((LOGITS, SOUND, LAYER), LAYER),
        ((LOGITS, SOUND), LOGITS),
        ((BIAS, LOGITS, LAYER), BIAS),
        ((SOUND,), None),
    ],
    ids=["the layer is nearer", "logits alone", "structure first", "none"],
)
def test_the_first_difference_is_the_nearest_to_a_cause(
    verdict: Verdict, measurements: tuple[Measurement, ...], first: Measurement | None
) -> None:
    assert replace(verdict, measurements=measurements).first_difference == first


def test_the_worst_is_of_the_pair_that_was_asked_for(verdict: Verdict) -> None:
    assert verdict.worst("activations") == LAYER
    assert verdict.worst("activations", (PAIR[0], "flax_nnx")) == OTHER
    assert verdict.worst("forward", (PAIR[0], "flax_nnx")) is None
    assert verdict.pairs == [PAIR, (PAIR[0], "flax_nnx")]
    assert verdict.probes == ["forward", "activations"]


def test_json_is_all_of_it(verdict: Verdict) -> None:
    read = json.loads(replace(verdict, measurements=(BIAS, SOUND)).to_json())
    assert read.pop("spec")["name"] == "unet_paper"
    sgd = Recipe().optimizer.model_dump()
    assert read.pop("recipe") == {"loss": "cross_entropy", "optimizer": sgd, "batch_statistics": "global"}
    bias = {
        "reference": "numpy_reference",
        "candidate": "pytorch",
        "probe": "structure",
        "quantity": "head.bias",
        "distance": None,
        "floor": 0.0,
        "max_abs_error": None,
        "max_rel_error": None,
        "index": None,
        "reference_value": None,
        "candidate_value": None,
        "limit": 64.0,
    }
    sound = {"probe": "activations", "quantity": "head", "distance": 64.0, "floor": 2e-16, "max_abs_error": 0.25}
    sound |= {"max_rel_error": 0.125, "index": [], "reference_value": 1.5, "candidate_value": 1.75}
    assert read == {
        "kind": "tandem verdict",
        "version": 1,
        "equal": False,
        "limit": 64.0,
        "spec_fingerprint": verdict.spec.fingerprint,
        "execution": {"device": "cpu", "precision": "float64", "tuning": "default"},
        "seed": 7,
        "batch": {"shape": [2, 1, 188, 189], "origin": "two images"},
        "steps": 3,
        "replicas": 1,
        "models": ["numpy_reference", "pytorch", "flax_nnx"],
        "first_difference": bias,
        "not_compared": [],
        "measurements": [bias, bias | sound],
    }


LEFT_OUT = NotCompared("onnxruntime", "gradients", "has inference only")


def test_what_was_not_compared_is_told(verdict: Verdict) -> None:
    left = replace(verdict, measurements=(SOUND,), not_compared=(LEFT_OUT,))
    assert lines(left)[2:] == [
        "numpy_reference | pytorch activations head 64 0.25 0.125 [] 1.5 | 1.75",
        "onnxruntime gradients not compared: it has inference only",
        "equal",
    ]
    assert str(LEFT_OUT) == "gradients: onnxruntime has inference only"
    told = json.loads(left.to_json())["not_compared"]
    assert told == [{"model": "onnxruntime", "probe": "gradients", "reason": "has inference only"}]


def test_what_replicas_showed_comes_after_the_rest(verdict: Verdict) -> None:
    one = replace(verdict, measurements=(SOUND,), not_compared=(LEFT_OUT,))
    more = NotCompared("onnxruntime", "data_parallel", "trains on one device only")
    other = replace(verdict, measurements=(BIAS,), not_compared=(more,), replicas=3, seed=1)
    both = one.and_of_replicas(other)
    assert (both.measurements, both.not_compared) == ((SOUND, BIAS), (LEFT_OUT, more))
    assert both == replace(one, measurements=(SOUND, BIAS), not_compared=(LEFT_OUT, more), replicas=3)


def test_json_of_a_sound_verdict_names_no_difference(verdict: Verdict) -> None:
    read = json.loads(replace(verdict, measurements=(SOUND,)).to_json())
    assert (read["equal"], read["first_difference"]) == (True, None)


def test_json_is_never_what_other_readers_refuse(verdict: Verdict) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(verdict, batch_shape=(math.nan,)).to_json()


def test_what_is_not_finite_is_the_worst_element_even_where_both_have_it() -> None:
    apart = measure(PAIR, "forward", "q", np.array([1.0, np.inf, 2.0]), np.array([5.0, np.inf, 2.0]), 0.5, 64.0)
    assert (apart.index, apart.distance, apart.reference_value, apart.candidate_value) == ((1,), *3 * (math.inf,))
    assert math.isnan(apart.max_abs_error)


@pytest.mark.parametrize(
    ("reference", "candidate", "errors", "index", "values"),
    [
        ([[2.0, -8.0], [4.0, 1.0]], [[2.0, -8.0], [6.0, 1.5]], (2.0, 0.25), (1, 0), (4.0, 6.0)),
        (2.0, 3.0, (1.0, 0.5), (), (2.0, 3.0)),
        ([0.0, 0.0], [0.0, 0.5], (0.5, math.inf), (1,), (0.0, 0.5)),
        ([0.0, 0.0], [0.0, 0.0], (0.0, 0.0), (0,), (0.0, 0.0)),
        ([0.5, 0.25], [0.5, 0.5], (0.25, 0.5), (1,), (0.25, 0.5)),
        ([3], [5], (2.0, 2 / 3), (0,), (3.0, 5.0)),
    ],
    ids=["array", "scalar", "zeros", "equal zeros", "below one", "integers"],
)
def test_measure_fills_every_field(reference, candidate, errors, index, values) -> None:
    apart = measure(PAIR, "forward", "q", np.array(reference), np.array(candidate), 0.5, 64.0)
    assert (apart.reference, apart.candidate, apart.probe, apart.quantity) == (*PAIR, "forward", "q")
    assert (apart.max_abs_error, apart.max_rel_error) == errors
    assert (apart.index, (apart.reference_value, apart.candidate_value)) == (index, values)
    assert (apart.floor, apart.limit) == (0.5, 64.0)


def test_another_shape_fills_every_field_but_the_values() -> None:
    apart = measure(PAIR, "structure", "head.bias", np.zeros(3), np.zeros(4), 0.0, 64.0)
    assert apart.__dict__ | {"reference_value": 0, "candidate_value": 0} == BIAS.__dict__ | {
        "reference_value": 0,
        "candidate_value": 0,
    }
    assert math.isnan(apart.reference_value)
    assert math.isnan(apart.candidate_value)
