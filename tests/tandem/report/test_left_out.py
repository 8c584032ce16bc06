"""What a backend cannot do stands in every table and section of the report, and is no failure."""

from __future__ import annotations

import html
import json
import re

import pytest

from benchmarks.records import Record
from tandem import left_out
from tandem.report import Findings, to_html, to_markdown
from tandem.report.findings import Check
from tandem.report.verdicts import verdicts

from .made_up import both, check, record

LACKS = "has no phase 'train_step' (inference only)"
SAID = f"onnxruntime {LACKS}"
PAIRS = (("numpy_reference", "pytorch"), ("numpy_reference", "onnxruntime"))


def unsupported() -> Record:
    return record(None, "onnxruntime", phase="train_step", status="unsupported", message=LACKS)


def records() -> list[Record]:
    return [*both(0.01, 0.02, phase="train_step"), unsupported()]


def partly_compared() -> Check:
    whole = check(pairs=PAIRS).model_dump()
    measured = whole["measurements"]
    gradients = {**measured[0], "probe": "gradients", "quantity": "loss"}
    left = [{"model": "onnxruntime", "probe": probe, "reason": "has inference only"} for probe in ("gradients", "x")]
    return Check.model_validate(whole | {"measurements": [*measured, gradients], "not_compared": left})


def text(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page)))


def section(page: str, identity: str) -> str:
    return text(page.partition(f'<section id="{identity}"')[2].partition("</section>")[0])


def test_the_answer_says_it_and_is_given() -> None:
    training = {verdict.scenario.identity: verdict for verdict in verdicts(records())}["training-throughput"]
    assert training.choice == "pytorch, default"
    assert training.settings[0].headline.sentence.endswith(SAID)


@pytest.mark.parametrize("identity", ["answer", "throughput", "roofline", "memory", "start", "provenance"])
def test_every_section_of_the_page_says_it(identity: str) -> None:
    assert LACKS in section(to_html(Findings(records=records())), identity)


def test_the_table_of_every_cell_has_it_as_what_it_is() -> None:
    page = to_html(Findings(records=records()))
    assert f"unsupported: {LACKS}" in section(page, "throughput")
    assert "Every process (6)" in section(page, "provenance")
    assert "6 processes" in text(page.partition("<main")[0])


def test_markdown_has_it_in_the_answer_and_below_the_table_of_times() -> None:
    page = to_markdown(Findings(records=records()))
    (row,) = [line for line in page.splitlines() if line.startswith("| train_step | onnxruntime")]
    assert "unsupported" in row
    answer, _, times = page.partition("## Time")
    assert answer.count(r"onnxruntime has no phase 'train_step'") >= 2
    assert r"onnxruntime has no phase 'train_step' (inference only)." in times
    assert "- Processes: 6" in page


def test_a_run_in_which_all_can_be_timed_says_nothing_of_it() -> None:
    page = to_html(Findings(records=both(0.01, 0.02)))
    assert "Not in these figures" not in page and "unsupported" not in text(page)


def test_a_check_says_who_was_not_compared() -> None:
    said = "onnxruntime was not compared in gradients, x: it has inference only."
    findings = Findings(checks=[partly_compared()])
    page, markdown = to_html(findings), to_markdown(findings)
    assert section(page, "parity").count(said) == 2  # as a sentence, and below the heat map
    assert said in markdown
    (row,) = [line for line in markdown.splitlines() if line.startswith("| gradients")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1:3] == ["1.50", left_out.NOT_COMPARED]
    assert section(page, "parity").count(f" {left_out.NOT_COMPARED} ") >= 1


def test_rows_of_the_heat_map_have_one_order_in_every_precision() -> None:
    """A pair that one of them lacks must not push the others apart."""
    trio = [(PAIRS[0]), PAIRS[1], ("pytorch", "onnxruntime")]
    coarse = check(pairs=[*trio[:2], ("numpy_reference", "flax_nnx"), trio[2]]).model_dump()
    fine = check(pairs=[PAIRS[0], ("numpy_reference", "flax_nnx")])
    coarse = Check.model_validate(coarse | {"execution": {"device": "cpu", "precision": "float32"}})
    (drawn,) = re.findall(r'class="plot-data">(.*?)</script>', to_html(Findings(checks=[fine, coarse])))[:1]
    labels = [label["text"].split(": ") for label in json.loads(drawn)["layout"]["annotations"]]
    order = list(dict.fromkeys(pair for _, pair in labels))
    assert len({group for group, _ in labels}) == 2
    for group in {group for group, _ in labels}:
        places = [order.index(pair) for of, pair in labels if of == group]
        assert places == sorted(places) and len(places) > 1


def test_the_same_is_said_once_for_all_probes() -> None:
    both_missing = partly_compared().not_compared
    assert left_out.not_compared(both_missing, PAIRS) == [
        "onnxruntime was not compared in gradients, x: it has inference only"
    ]
    assert left_out.not_compared(both_missing, PAIRS[:1]) == ["onnxruntime was not compared: it has inference only"]
    assert left_out.takes_no_part(both_missing, "gradients", PAIRS[1])
    assert not left_out.takes_no_part(both_missing, "gradients", PAIRS[0])
    assert not left_out.takes_no_part(both_missing, "forward", PAIRS[1])
