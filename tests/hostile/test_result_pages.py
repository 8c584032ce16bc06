"""The HTML page of result files that are damaged or made to deceive: it shows their words, and runs none of them."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from shared_specs import TandemError
from tandem.report import Findings, load, to_html

from .results import results
from .test_result_files import HOSTILE, TEXTS, changed, is_one_clear_line, places

pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")

BREAKOUT = "</script><script>alert(1)</script> \"><b onclick=alert(1)> ' %{y} </figure></style> {{x}} &lt;i&gt;"


def page_of(path: Path, values: Any) -> str | None:
    """The page of a file with this content, or None where it was refused in one line that names the file."""
    path.write_text(json.dumps(values))
    try:
        findings = load([path])
    except TandemError as error:
        is_one_clear_line(error, path)
        return None
    findings.against = [record.model_copy(update={"commit": "f" * 40}) for record in findings.records]
    return re.sub('(?<=id="plotly">)[^<]*', "", to_html(findings))  # ours, and four times the rest


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, and what its scripts hold."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.scripts: list[str] = []
        self.within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.within = tag

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            self.scripts.append(data)


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_any_value_in_any_place_is_refused_or_shown(step: int, tmp_path: Path) -> None:
    whole = results()
    cases = [(place, value) for place in places(whole) for value in HOSTILE][::step]
    outcomes = [page_of(tmp_path / "x.json", changed(whole, *case)) for case in cases]
    assert len(cases) > 100 and 0 < outcomes.count(None) < len(cases)


@pytest.mark.parametrize("text", [BREAKOUT + " ".join(TEXTS.values())], ids=["all_together"])
def test_hostile_words_change_nothing_of_the_page_but_its_words(text: str, tmp_path: Path) -> None:
    whole = results()
    whole["records"][0]["environment"] = whole["records"][0]["knobs"] = {"NAME": "value"}
    seen = 0
    for place in places(whole):
        here, plain = copy.deepcopy(whole), copy.deepcopy(whole)
        for values, words in ((here, text), (plain, "harmless")):
            for number in range(4) if place[0] == "records" else [0]:
                other = (place[0], number, *place[2:]) if place[0] == "records" else place
                if place[-1] != "NAME" or number == 0:
                    values.update(changed(values, other, words))
        page, expected = page_of(tmp_path / "x.json", here), page_of(tmp_path / "x.json", plain)
        if page is None or expected is None:
            continue
        seen += 1
        made = Structure(page)
        assert made.elements == Structure(expected).elements, place
        assert not [attribute for _, *names in made.elements for attribute in names if attribute.startswith("on")]
        assert "alert(1)" not in "".join(script for script in made.scripts if not script.startswith("{")), place
        assert all(letter.isprintable() or letter == "\n" for letter in page), place
    assert seen > 10


def test_figures_stay_json_that_no_text_ends(tmp_path: Path) -> None:
    values = results()
    for record in values["records"]:
        record["cell"]["backend"] = BREAKOUT + record["cell"]["backend"]
    page = page_of(tmp_path / "x.json", values)
    assert page is not None
    data = re.findall(r'<script type="application/json" class="plot-data">(.*?)</script>', page, re.DOTALL)
    figures = [json.loads(each) for each in data]
    assert figures and not [each for each in data if "<" in each or ">" in each or "&" in each]
    texts = json.dumps(figures)
    assert "&lt;/script&gt;" in texts and "<b onclick" not in texts, "plotly reads HTML in texts, and is given none"


def test_nothing_at_all_is_still_a_page() -> None:
    page = to_html(Findings())
    assert "No parity check is among these files." in page and "<h2" in page
