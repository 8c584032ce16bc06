"""Sound builds of random networks never cross the limit: fresh ones here, and those of the record in docs/distances.

In float64 `test_random_specs.py` proves the same of fresh networks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backends.contract import Execution
from docs import distances
from docs.cases import PRECISIONS, Case, bin_of, case
from docs.tables import limit_in
from parity import PROBES, check
from shared_specs import UNetSpec, load_spec
from shared_specs.shapes import Shape

from ..docs.pages import read
from ..strategies import specs

LEAST_CASES = 1000


@pytest.mark.needs_backends("pytorch")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sound_builds_are_equal(precision: str) -> None:
    # Without shrinking: the network that failed is small and printed whole.
    @settings(max_examples=13, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
    @given(specs(), st.integers(1, 3), st.integers(0, 1000))
    def prove(network: tuple[UNetSpec, Shape], count: int, seed: int) -> None:
        spec, (_, *rest) = network
        verdict = Case(0, spec, (count, *rest), seed, ("pytorch",), precision).check()
        assert verdict.equal, f"{verdict.first_difference}\n{spec.model_dump_json(exclude_none=True)}"
        assert verdict.probes == list(PROBES)

    prove()


@pytest.mark.needs_backends("flax_nnx")
def test_a_decision_that_the_first_step_turned_moves_the_second_no_further_than_is_allowed() -> None:
    """Where every step turned all that it could, two biases lay near again, and a sound build 195 floors from them."""
    verdict = check(
        load_spec("unet_bn_same").narrow(32),
        ["flax_nnx"],
        Execution(precision="float32"),
        probes=["optimizer", "trajectory"],
        seed=2,
        steps=2,
    )
    assert verdict.equal, str(verdict.first_difference)
    assert verdict.worst("trajectory").distance > 16, "no decision was turned: take another seed"


@pytest.fixture(scope="module")
def record() -> list[distances.Values]:
    return distances.read(distances.SOUND)


def test_the_record_is_of_many_networks(record: list[distances.Values]) -> None:
    assert len({values["case"] for values in record}) == len(record)
    assert len(record) >= LEAST_CASES
    assert len({values["spec"] for values in record}) > 0.9 * len(record)
    assert {values["images"][0] for values in record} == {1, 2, 3}
    assert set(Counter(values["precision"] for values in record)) == set(PRECISIONS)
    assert sum("flax_nnx" in values["backends"] for values in record) > len(record) / 13
    for values in record:
        assert list(values["probes"]) == list(PROBES), values


def test_the_record_has_no_false_alarm(record: list[distances.Values]) -> None:
    assert distances.alarms(record) == []
    for values in record:
        for probe, kept in values["probes"].items():
            assert kept["worst"] <= limit_in(values["precision"]), values
            # To within a bin, since the largest distance is rounded to four digits.
            assert abs(bin_of(kept["worst"]) - max(map(int, kept["bins"]))) <= 1, (values["case"], probe)


def test_an_alarm_in_the_record_is_told(record: list[distances.Values]) -> None:
    far = record[1] | {"probes": record[1]["probes"] | {"forward": {"worst": 64.1, "bins": {"18": 1}}}}
    endless = record[2] | {"probes": record[2]["probes"] | {"forward": {"worst": None, "bins": {"4000": 1}}}}
    failed = {key: value for key, value in record[3].items() if key != "probes"} | {"error": "overflow"}
    found = distances.alarms([record[0], far, endless, failed])
    assert [one.partition(":")[0] for one in found] == [f"case {record[place]['case']}" for place in (3, 1, 2)]


def test_table_and_plot_are_those_of_the_record(record: list[distances.Values]) -> None:
    faults = distances.read(distances.FAULTS)
    found = distances.clouds(record, faults)
    page = read("docs/parity.md")
    assert f"\n{distances.summary(record, faults)}\n\n{distances.distances_table(found)}\n" in page
    assert distances.PLOT.read_text(encoding="utf-8") == distances.plot(found)


def test_quantiles_are_those_of_the_bins() -> None:
    values = [0.0, 0.0, 0.011, 0.11, 1.1, 11.0, 12.0]
    cloud = distances.Cloud("float64", "forward", Counter(map(bin_of, values)), max(values), [])
    assert cloud.quantile(0.2) == 0.0
    assert cloud.quantile(4 / 7) == pytest.approx(0.11, rel=0.26)
    assert cloud.quantile(1.0) == max(values)


def test_a_collection_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    class Fake:
        def __init__(self, number: int) -> None:
            self.number = number

        def record(self) -> distances.Values:
            checked.append(self.number)
            return {"case": self.number, "precision": "float64"}

    monkeypatch.setattr(distances, "case", Fake)
    path = tmp_path / "sound.jsonl"
    distances.collect(path, 3)
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-5], encoding="utf-8")
    distances.collect(path, 3)
    assert path.read_text(encoding="utf-8") == whole
    assert checked == [0, 1, 2, 2]


def test_cases_of_the_record_are_drawn_again(record: list[distances.Values]) -> None:
    for values in record[100:110]:
        again = case(values["case"])
        assert again.spec.fingerprint.startswith(values["spec"]), "was Hypothesis updated? then collect the record anew"
        assert ([*again.images], again.seed) == (values["images"], values["seed"])
        assert ([*again.candidates], again.precision) == (values["backends"], values["precision"])
