"""A report of records of scaling alone: what they say, no empty cards, and no infinity."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from benchmarks.records import Record
from tandem.report import Findings, to_html, to_markdown
from tandem.report.scaled import nothing_else, scaled
from tandem.report.verdicts import verdicts

from .made_up import both, processes, record, sweep


def replicas(backend: str, count: int) -> list[Record]:
    """Strong and weak scaling from one to two processes of one core, so many runs of each."""
    cells = ((1, 2, 0.010), (2, 2, 0.008), (2, 4, 0.016))
    return [
        each
        for replicas, batch, step_s in cells
        for each in processes(step_s, backend, count, phase="train_step", replicas=replicas, cores=1, batch=batch)
    ]


def two_replicas() -> list[Record]:
    return [*replicas("pytorch", 1), *replicas("flax_nnx", 1)]


def two_sweeps() -> list[Record]:
    return [*sweep("pytorch", 8, phase="train_step"), *sweep("flax_nnx", 4, phase="train_step")]


def sides() -> list[Record]:
    return [record(1e-6 * side**2, "pytorch", size=(side, side)) for side in (32, 64, 128)]


ONLY_SCALING: dict[str, Callable[[], list[Record]]] = {"replicas": two_replicas, "batch": two_sweeps, "size": sides}


@pytest.mark.parametrize("name", ONLY_SCALING)
@pytest.mark.parametrize("page_of", [to_html, to_markdown], ids=["html", "markdown"])
def test_records_of_scaling_alone_have_no_empty_card_and_no_infinity(
    name: str, page_of: Callable[[Findings], str]
) -> None:
    if page_of is to_html:
        pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")
    page = page_of(Findings(records=ONLY_SCALING[name]()))
    words = re.sub("<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    assert not re.search("not measured|: not decided|>not decided", words, re.IGNORECASE)
    assert not re.search(r"\binf\b|to inf|0\.00 to|\bnan\b", words, re.IGNORECASE)
    assert "tandem compare unet_bn_same --narrow 8" in words, "how to find out which backend to choose"


def test_over_devices_a_card_has_efficiency_time_memory_and_why_there_is_no_interval() -> None:
    strong, weak = scaled(replicas("pytorch", 1))
    assert strong.who == "pytorch default, strong scaling, 2 images in all"
    assert strong.choice == "63% efficient"
    assert strong.beside == (
        "2 processes of 1 core each",
        "no interval from one run (take --replicates 3)",
        "8.000 ms a step",
        "1.00 GiB of memory at most for each",
    )
    assert (weak.who, weak.choice) == ("pytorch default, weak scaling, 2 images each", "63% efficient")
    strong, _ = scaled(replicas("pytorch", 3))
    assert re.fullmatch(r"95% interval 6\d to 6\d%", strong.beside[1])


def test_over_the_batch_a_card_has_the_fastest_place_and_where_memory_ends() -> None:
    (found,) = scaled(sweep("pytorch", 4, phase="train_step"))
    assert found.choice == "fastest at batch 1", "a hundredth of a second an image, at every batch"
    assert found.beside == (
        "100.0 images/s",
        "10.00 ms a step",
        "1.00 GiB of memory",
        "the largest batch that fits, before memory ends: 4",
        "no intervals, as each point is one process",
    )
    assert scaled([record(None, batch=batch) for batch in (1, 2, 4)])[0].choice == "nothing timed"


@pytest.mark.parametrize(
    ("command", "axis", "many"),
    [
        ("tandem scale batch unet_bn_same --most 2", "batch", 1),
        ("python -m tandem scale --most 2 batch", "batch", 1),
        ("tandem scale size unet_bn_same --most 64", "size", 1),
        ("tandem scale size unet_bn_same --batch 2", "batch", 0),
        ("tandem bench batch.toml", "batch", 0),
    ],
)
def test_two_places_are_a_sweep_where_they_were_meant_as_one(command: str, axis: str, many: int) -> None:
    places = [{"batch": 1}, {"batch": 2}] if axis == "batch" else [{"size": (32, 32)}, {"size": (64, 64)}]
    records = [record(0.01, command=command, **place) for place in places]
    assert len(scaled(records)) == many
    assert nothing_else(records, verdicts(records)) == (many == 1)
    assert len(scaled(records[:1])) == 0, "one place is no sweep"


def test_over_the_size_the_fastest_is_that_with_the_most_pixels_a_second() -> None:
    (found,) = scaled([record(step_s, size=(side, side)) for side, step_s in ((32, 1.0), (64, 2.0), (128, 9.0))])
    assert found.choice == "fastest at 64x64 pixels"


def test_what_was_not_timed_says_so() -> None:
    failed = [each for each in replicas("pytorch", 1) if each.cell.replicas == 1]
    failed += [record(None, phase="train_step", replicas=2, cores=1, batch=2, status="timed_out")]
    (strong,) = scaled(failed)
    assert (strong.choice, strong.beside) == ("not timed", ("2 processes of 1 core each", "timed out"))


def test_beside_other_records_the_scenarios_keep_their_cards() -> None:
    mixed = [*both(0.01, 0.02, size=(32, 32)), *two_replicas()]
    assert nothing_else(two_replicas(), verdicts(two_replicas()))
    assert not nothing_else(mixed, verdicts(mixed)) and not nothing_else([], verdicts([]))
    page = to_markdown(Findings(records=mixed))
    assert "**Inference throughput: pytorch, default.**" in page and "63% efficient" in page


def test_a_run_that_is_loaded_twice_is_still_scaling_alone() -> None:
    twice = [*two_replicas(), *two_replicas()]
    assert nothing_else(twice, verdicts(twice))


def test_markdown_has_each_point_of_a_sweep() -> None:
    page = to_markdown(Findings(records=two_sweeps()))
    assert "## Scaling\n" in page and "The largest batch that fits, before memory ends: 8." in page
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["8", "80.00", "100.0", "2441.4", "1.00 GiB", "0"] in rows
    assert ["16", "out of memory", "", "", "", ""] in rows
