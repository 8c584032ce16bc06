"""The small parts of the page: text as HTML and JSON, figures with their axes, and tables."""

from __future__ import annotations

import json

import pytest

from tandem.report.html import figures
from tandem.report.html.markup import as_json, element, text
from tandem.report.html.tables import COLUMNS, ROWS, Number, table

from .test_html import plots


def test_text_is_escaped_and_markup_of_ours_is_not() -> None:
    assert text('<b title="x">') == "&lt;b title=&quot;x&quot;&gt;"
    assert element("p", element("b", "<"), " & ", class_="a b", hidden=True, title=None) == (
        '<p class="a b" hidden><b>&lt;</b> &amp; </p>'
    )
    assert text("a\nb\x1b\u202e") == "a b "


def test_json_cannot_end_its_script_and_holds_no_nan() -> None:
    written = as_json({"</script>": [float("nan"), float("inf"), 1.5, "&<>\u2028"]})
    assert not set("<>&") & set(written)
    assert json.loads(written) == {"</script>": [None, None, 1.5, "&<>\u2028"]}


def test_a_figure_shows_texts_as_they_are_but_for_templates() -> None:
    made = figures.figure([{"name": "<b>&", "hovertemplate": figures.Template("%{x}<br>")}], {}, "Name", "Words")
    (plot,) = plots(made)
    assert plot["data"][0] == {"name": "&lt;b&gt;&amp;", "hovertemplate": "%{x}<br>"}
    assert 'role="img"' in made and 'aria-label="Name. Words"' in made


def test_backends_keep_their_colour_and_symbol() -> None:
    known = [figures.colour(name) for name in figures.COLOURS]
    assert len(set(known)) == len(known)
    assert figures.colour("outside") == figures.colour("outside") and figures.colour("outside") not in known
    assert figures.fill("pytorch", "tuned") == figures.colour("pytorch") != figures.fill("pytorch", "default")


def test_a_table_keeps_what_it_sorts_by_beside_what_it_shows() -> None:
    made = table("Caption", ("name", "value"), [("a", Number.of(1234.5, "1,235"))], right=(1,))
    assert '<td data-value="1234.5" class="right">1,235</td>' in made
    assert made.count("<button") == 2 and made.count('aria-sort="none"') == 2 and 'scope="row"' in made


@pytest.mark.parametrize("values", [[0.2], [1.0, 1.3], [1.0, 4.0], [30.0, 31.0], [1e-9, 1e9], [], [float("inf"), 3.0]])
def test_a_logarithmic_axis_has_ticks_within_its_range(values: list[float]) -> None:
    axis = figures.log_axis("x", values)
    low, high = (10**end for end in axis["range"])
    assert low < high
    assert 2 <= len(axis["tickvals"]) == len(axis["ticktext"]) <= 20
    assert all(low <= tick <= high for tick in axis["tickvals"])
    finite = [value for value in values if value < 1e300]
    assert all(low < value < high for value in finite)


def test_each_value_of_a_wide_table_has_its_name_for_where_it_is_a_list() -> None:
    head = [f"column {number}" for number in range(COLUMNS + 1)]
    made = table("Caption", head, [["first", "a", "", "c", "d"]])
    assert 'class="wide stacks"' in made and '<td data-name="column 1">a</td>' in made
    assert "<td></td>" in made, "what is empty has no line of its own"
    assert 'class="wide stacks long"' in table("Caption", head, [head] * (ROWS + 1))
    assert "data-name" not in table("Caption", head[:COLUMNS], [head[:COLUMNS]])
