"""What a verdict says, in words and in JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

import parity
from backends.contract import Execution
from parity.verdict import measure
from shared_specs import SpecError, TandemError, WeightsError, initial_weights

pytestmark = pytest.mark.needs_backends("pytorch")


@pytest.fixture(scope="module")
def verdict(variant):
    return parity.check(variant(), ["pytorch"], steps=1)


def test_json_has_all_that_is_needed_to_doubt_it(verdict):
    read = json.loads(verdict.to_json())
    assert read["kind"] == "tandem verdict"
    assert read["version"] == 1
    assert read["equal"] is True
    assert read["first_difference"] is None
    assert read["limit"] == parity.LIMIT
    assert read["spec_fingerprint"] == verdict.spec.fingerprint
    assert read["execution"] == {"device": "cpu", "precision": "float64", "tuning": "default"}
    assert read["batch"]["shape"] == list(verdict.batch_shape)
    assert len(read["measurements"]) == len(verdict.measurements)
    assert read["measurements"][-1]["quantity"] == verdict.measurements[-1].quantity


def test_text_is_a_table_of_the_worst_quantities(verdict):
    text = str(verdict)
    for probe in parity.PROBES:
        assert probe in text
        assert verdict.worst(probe).quantity[:20] in text
    assert text.rstrip().endswith("equal")


def test_text_and_json_name_the_first_difference(variant):
    spec = variant()
    weights = initial_weights(spec)
    wrong = {name: values * (1 + (name == "decoder.1.up.bias")) for name, values in weights.items()}
    import backends

    models = []
    for name, given in (("numpy_reference", weights), ("pytorch", wrong)):
        models.append(backends.get(name).build(spec, Execution(precision="float64")))
        models[-1].load_weights(given)
    verdict = parity.compare_models(*models, probes=["structure", "forward"])
    assert verdict.first_difference.quantity == "decoder.1.up.bias"
    assert "first difference: structure: decoder.1.up.bias: candidate has" in str(verdict)
    assert json.loads(verdict.to_json())["first_difference"]["quantity"] == "decoder.1.up.bias"
    assert [m.probe for m in verdict.differences] == ["structure", "forward"]


@pytest.mark.parametrize(
    ("reference", "candidate", "index", "max_abs"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.5, 4.0]], (1, 0), 0.5),
        ([1.0, 2.0], [1.0, np.nan], (1,), np.nan),
        ([1.0, 2.0], [-np.inf, np.nan], (0,), np.inf),
    ],
    ids=["largest", "nan", "both broken"],
)
def test_the_worst_element_is_named(reference, candidate, index, max_abs):
    found = measure(("a", "b"), "forward", "logits", np.array(reference), np.array(candidate), 1e-3, 64.0)
    assert found.index == index
    np.testing.assert_equal(found.max_abs_error, max_abs)
    np.testing.assert_equal(found.candidate_value, np.array(candidate)[index])
    assert not found.equal


def test_another_shape_is_a_difference_with_words_for_it():
    found = measure(("a", "b"), "structure", "head.bias", np.zeros(3), np.zeros(4), 1.0, 64.0)
    assert not found.equal
    assert str(found) == "structure: head.bias: b and a have different shapes, or one of them lacks it"


def test_a_scalar_has_no_index():
    assert measure(("a", "b"), "gradients", "loss", np.asarray(1.0), np.asarray(2.0), 1e-3, 64.0).index == ()


def test_nothing_compared_is_not_equal(verdict):
    from dataclasses import replace

    assert not replace(verdict, measurements=()).equal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": ["forwards"]}, "no probe is named 'forwards'; take some of structure, forward"),
        ({"probes": []}, "expected at least one probe"),
        ({"steps": 0}, "and one step"),
        ({"backends": []}, "nothing to compare with numpy_reference"),
        ({"backends": ["pytorhc"]}, "no backend is named 'pytorhc'; the nearest are pytorch"),
        ({"weights": {}}, "missing encoder.0.block.0.conv.weight"),
    ],
    ids=["probe", "no probe", "steps", "no backend", "backend", "weights"],
)
def test_bad_arguments_are_one_line(variant, arguments, message):
    with pytest.raises(TandemError, match=message) as caught:
        parity.check(variant(), **({"backends": ["pytorch"]} | arguments))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, SpecError)
    assert isinstance(caught.value, WeightsError) == ("weights" in arguments)


def test_a_reference_that_overflows_is_bad_input_and_no_difference(variant):
    spec = variant()
    images = parity.random_batch(spec)
    huge = parity.Batch(images.images * 1e200, images.labels, "huge images")
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            TandemError, match=r"reference is not finite at encoder\S+running_var \(statistics\), so nothing"
        ) as caught,
    ):
        parity.check(spec, ["pytorch"], probes=["statistics"], batch=huge)
    assert "\n" not in str(caught.value)


def test_a_file_and_a_single_probe_are_understood(variant, tmp_path):
    from shared_specs.catalog import ZOO

    path = tmp_path / "small.toml"
    text = (ZOO / "unet_same.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("[64, 128, 256, 512, 1024]", "[4, 8]"), encoding="utf-8")
    verdict = parity.check(path, ["pytorch"], probes="forward")
    assert verdict.equal
    assert verdict.spec.widths == (4, 8)
    assert verdict.probes == ["forward"]


def test_progress_names_each_run(variant):
    seen = []
    parity.check(variant(), ["pytorch"], probes=["forward"], on_progress=seen.append)
    assert seen == ["forward: numpy_reference", *["forward: noise floor, noisy re-run"] * 4, "forward: pytorch"]
