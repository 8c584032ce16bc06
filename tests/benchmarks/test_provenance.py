"""The commit of a record: of a checkout with changes it names them, so that no two codes pass for one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import provenance
from benchmarks.merging import column_of, of_other_changes
from benchmarks.record_files import load_records, save_record

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

NUMBER = "a" * 40


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one source file of a checkout of its own."""
    checkout = tmp_path / "checkout"
    (checkout / "backends").mkdir(parents=True)
    file = checkout / "backends" / "model.py"
    file.write_text("one = 1\n")
    (checkout / "README.md").write_text("words\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(checkout), *words], check=True, capture_output=True)
    monkeypatch.setattr(provenance, "ROOT", checkout)
    return file


def test_a_commit_with_changes_says_which(source: Path) -> None:
    clean = provenance.commit()
    assert clean is not None and len(clean) == 40
    found = []
    for text in ("one = 2\n", "one = 3\n", "one = 2\n"):
        source.write_text(text)
        found.append(provenance.commit())
    assert found[0] == found[2] != found[1]
    assert all(commit.startswith(f"{clean}+changes.") and provenance.names_code(commit) for commit in found)


def test_words_that_are_changed_are_no_other_code(source: Path) -> None:
    (source.parents[1] / "README.md").write_text("other words\n")
    first = provenance.commit()
    (source.parents[1] / "README.md").write_text("yet other words\n")
    assert provenance.commit() == first != None  # noqa: E711


def test_what_was_changed_while_it_ran_has_no_name(source: Path) -> None:
    source.write_text("one = 2\n")
    at_start = provenance.commit()
    assert provenance.of_run(at_start) == at_start
    source.write_text("one = 3\n")
    found = provenance.of_run(at_start)
    assert found is not None and found.endswith("+changes") and not provenance.names_code(found)


def test_changes_before_and_after_an_edit_have_files_of_their_own(record, tmp_path: Path) -> None:
    records = [record(commit=f"{NUMBER}+changes.{digest}") for digest in ("11111111", "22222222")]
    columns = [column_of(each, ["commit"]) for each in records]
    assert columns == ["aaaaaaaaaaaa-changes.11111111", "aaaaaaaaaaaa-changes.22222222"]
    for each, column in zip(records, columns, strict=True):
        save_record(each, tmp_path, column)
    assert {each.commit for each in load_records(tmp_path)} == {each.commit for each in records}


@pytest.mark.parametrize(
    ("commit", "other"),
    [
        (NUMBER, False),
        ("b" * 40, False),  # which is refused, and never replaced
        (f"{NUMBER}+changes.11111111", False),
        (f"{NUMBER}+changes.22222222", True),
    ],
)
def test_of_changes_that_were_not_committed_others_may_take_the_place(record, commit: str, other: bool) -> None:
    assert of_other_changes(record(commit=commit), f"{NUMBER}+changes.11111111") == other
