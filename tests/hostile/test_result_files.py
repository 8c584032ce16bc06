"""Result files that are damaged, of another version or made to deceive: one line, or a report of what they say."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt  # which rich brings along

from benchmarks.machine import this_machine
from benchmarks.provenance import finished
from benchmarks.record_files import load_records
from shared_specs import TandemError
from tandem.report import load, to_markdown

from .results import record, results

HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2, 10**9, 10**30, 10**400, -(10**400), 0.5, -0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "NaN", "Infinity", "", "\n", "x" * 10_000, "\x1b[31m", "\ud800"),
    *([], {}, [[]], [None], ["a"], [{}], {"a": {}}, {"schema_version": 1}, [[[[[[]]]]]]),
)

TEXTS = {
    "html": "<script>alert(1)</script><img src=x onerror=y>",
    "link": "[press here](javascript:alert(1)) https://example.com www.example.com <http://x> a@b.com",
    "image": "![](http://example.com/pixel.png)",
    "lines": "a\n\n# heading\n\n- list\n\n```\ncode\n```\r\nb\u2028c",
    "table": "a | b || c \\| d",
    "emphasis": "**bold** _slanted_ __bold__ ~~gone~~ `code` ``code`` \\` $x$ &lt; &#60;",
    "terminal": "\x1b[31mred\x1b]0;title\x07\x9b1m",
    "direction": "a\u202eb\u2066c\u200bd\ufeff",
}


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within; of several records, in the first alone."""
    if path and path[0] == "records" and path[1:2] not in ((), (0,)):
        return
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(values: Any, place: tuple[Any, ...], to: Any) -> Any:
    values = copy.deepcopy(values)
    table = values
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = to
    return values


def is_one_clear_line(error: TandemError, path: Path) -> None:
    told = str(error)
    assert told.startswith(f"{path}: ") and told.isprintable() and len(told) < 3_000, told


def reported(path: Path, values: Any) -> str | None:
    """The report of a file with this content, or None where it was refused in one line that names the file."""
    path.write_bytes(values if isinstance(values, bytes) else json.dumps(values).encode())
    try:
        findings = load([path])
    except TandemError as error:
        is_one_clear_line(error, path)
        return None
    return to_markdown(findings)


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_any_value_in_any_place_is_refused_or_reported(step: int, tmp_path: Path) -> None:
    whole = results()
    cases = [(place, value) for place in places(whole) for value in HOSTILE][::step]
    outcomes = [reported(tmp_path / "x.json", changed(whole, *case)) for case in cases]
    assert len(cases) > 100 and 0 < outcomes.count(None) < len(cases)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_any_value_in_a_record_is_refused_or_measured_again(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--resume` reads before it goes on: a record of this very machine, network and code, but for one value."""
    monkeypatch.setattr("benchmarks.provenance.commit", lambda: None)
    timed = record(started_at="2999-01-01T00:00:00+00:00", versions={}, machine=this_machine(), commit=None)
    whole = timed.model_copy(update={"spec_fingerprint": timed.cell.network.fingerprint}).to_dict()
    path = tmp_path / "x.json"
    path.write_text(json.dumps(whole))
    assert len(finished(tmp_path)) == 1
    for place, value in [(place, value) for place in places(whole) for value in HOSTILE][::step]:
        path.write_text(json.dumps(changed(whole, place, value)))
        try:
            assert len(finished(tmp_path)) <= 1
        except TandemError as error:
            is_one_clear_line(error, path)


def test_every_key_is_missed_or_not_needed(tmp_path: Path) -> None:
    whole = results()
    outcomes = []
    for place in [place for place in places(whole) if isinstance(place[-1], str)]:
        values = copy.deepcopy(whole)
        table = values
        for key in place[:-1]:
            table = table[key]
        del table[place[-1]]
        outcomes.append(reported(tmp_path / "x.json", values))
    assert None in outcomes


@pytest.mark.parametrize("step", [101, pytest.param(3, marks=pytest.mark.full)], ids=["some", "many"])
def test_a_record_cut_off_or_with_a_flipped_bit_is_refused_or_reported(step: int, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = json.dumps(results()).encode()
    for place in range(0, len(content), step):
        for damaged in (
            content[:place],
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :],
        ):
            path.write_bytes(damaged)
            reported(path, damaged)


ONE = {"extra_info": {"record": 7}}

SHAPES: dict[str, tuple[Any, str]] = {
    "another_version": ({"schema_version": 2}, "is of record version 2, expected 1"),
    "a_version_in_words": ({"schema_version": "x" * 9_999}, "is of record version 'xxx"),
    "benchmarks_that_are_none": ({"benchmarks": [None, 3, [], {"extra_info": []}, ONE]}, "holds no benchmark record"),
    "lists_in_lists": ("[" * 100_000, "is not JSON"),
    "digits_without_end": ('{"schema_version": ' + "9" * 10_000 + "}", "is not JSON"),
    "half_a_character": (b'{"a": "\xc3"}', "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), SHAPES.values(), ids=SHAPES)
def test_files_that_hold_something_else_are_told(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    for read in (lambda: load([path]), lambda: load_records(path)):
        with pytest.raises(TandemError) as error:
            read()
        assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
        assert str(error.value).isprintable() and len(str(error.value)) < 400


def structure(page: str) -> list[str]:
    """What a page is made of, without its words."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(page)
    return [part.type for token in tokens for part in (token, *(token.children or ())) if part.type not in WORDS]


WORDS = ("text", "softbreak", "text_special", "code_inline")
"""A name may be shown as code or as text."""


@pytest.mark.parametrize(
    "text",
    [" ".join(TEXTS.values()), *(pytest.param(text, marks=pytest.mark.full) for text in TEXTS.values())],
    ids=["all_together", *TEXTS],
)
def test_the_report_shows_hostile_words_as_words(text: str, tmp_path: Path) -> None:
    """In each place where a file may have words, they change nothing of the page but its words."""
    whole = results()
    seen = 0
    for place in places(whole):
        # In all records at once: those that differ are compared apart, which makes another page.
        here, plain = copy.deepcopy(whole), copy.deepcopy(whole)
        for values, words in ((here, text), (plain, "harmless")):
            for number in range(4) if place[0] == "records" else [0]:
                other = (place[0], number, *place[2:]) if place[0] == "records" else place
                values.update(changed(values, other, words))
        page, expected = reported(tmp_path / "x.json", here), reported(tmp_path / "x.json", plain)
        if page is None or expected is None:
            continue
        seen += 1
        assert structure(page) == structure(expected), place
        assert all(letter.isprintable() or letter == "\n" for letter in page), place
        outside_of_code = re.sub("`[^`]*`", "", page)  # in which nothing becomes a link
        assert "://" not in outside_of_code and "www." not in outside_of_code, place
    assert seen > 10


def test_the_report_is_written_by_the_command(tmp_path: Path, run_tandem: Callable[..., Any]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(changed(results(), ("remarks", 0), TEXTS["html"] + TEXTS["terminal"])))
    ran = run_tandem("report", path, "--output", tmp_path / "report.md")
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "report.md").read_text()
    assert "\\<script\\>" in page and " <script" not in page and "\x1b" not in page


@pytest.fixture
def run_tandem() -> Callable[..., Any]:
    from typer.testing import CliRunner

    from tandem.cli import app

    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)), prog_name="tandem")
