"""What NVML said while a GPU was timed stands beside the answer, and its clocks among the facts."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.beware import remarks, slowed_down
from benchmarks.records import Record, Window
from tandem.report import Findings, to_html, to_markdown

from .made_up import on_gpu, record

SAID = "The GPU was slowed down while it was timed: pytorch in 1 of 2 processes (hw_thermal_slowdown)."


def processes_of(backend: str, reasons: tuple[tuple[str, ...] | None, ...]) -> list[Record]:
    """One for each of these reasons, with a window without any before."""
    made = []
    for replicate, own in enumerate(reasons, start=1):
        values: dict[str, Any] = on_gpu(1.0, 0.01)
        (window,) = values["windows"]
        slowed = window.gpu.model_copy(update={"throttle_reasons": own, "temperature_c": 60 + replicate})
        values["windows"] = (window, Window(steps=1, seconds=0.01, gpu=slowed))
        made.append(record(0.01, backend, replicate, **values))
    return made


def test_it_is_said_who_was_slowed_down_by_what_and_how_often() -> None:
    slowed = processes_of("pytorch", ((), ("hw_thermal_slowdown",)))
    quiet = processes_of("flax_nnx", ((), None))
    assert slowed_down([*slowed, *quiet]) == SAID
    assert slowed_down(quiet) is None and slowed_down([record()]) is None
    assert remarks([[*slowed, *quiet], [*slowed, *quiet], quiet]) == [SAID]


@pytest.mark.parametrize("page_of", [to_html, to_markdown], ids=["html", "markdown"])
def test_both_pages_say_it_beside_the_answer_and_have_the_clocks(page_of: Any) -> None:
    if page_of is to_html:
        pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")
    records = [*processes_of("pytorch", ((), ("hw_thermal_slowdown",))), *processes_of("flax_nnx", ((), ()))]
    page = page_of(Findings(records=records)).replace("\\_", "_")
    assert page.count(SAID) == 1
    for words in ("SM clock 1900 MHz", "memory clock 2600 MHz", "temperature 60 to 62 C"):
        assert words in page


def test_the_facts_have_how_many_had_settled() -> None:
    from benchmarks.records import WarmUp
    from tandem.report.provenance import facts

    steady = [True, True, False]
    records = [
        record(replicate=number, warm_up=WarmUp(steps=1, seconds=1.0, stable=stable, step_s=0.1))
        for number, stable in enumerate(steady)
    ]
    assert facts(records)["Settled when the warm-up ended"] == ["2 of 3 processes"]
    assert "Settled when the warm-up ended" not in facts([record()]) and "GPU while timed" not in facts([record()])
