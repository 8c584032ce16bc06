"""What `--json` writes has a model, and no key is written that the model does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError
from typer.main import get_command

from benchmarks.records import Record
from docs import schemas
from tandem.cli import app
from tandem.documents import MODELS, SCHEMA, Document, document, model_of
from tandem.documents.checks import CheckFile, Verdict

from ..docs.pages import read
from .conftest import Run
from .test_compare import made_up

COMMANDS: Any = get_command(app)


def tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from tables_in(part)


def every_table(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for table in tables_in(field.annotation):
                every_table(table, seen)
    return seen


def test_every_command_has_a_model() -> None:
    assert set(COMMANDS.commands) == {name.partition("_")[0] for name in MODELS}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bench"])
def test_a_key_that_no_schema_knows_is_refused(name: str) -> None:
    model = model_of(name)
    assert issubclass(model, Document)
    with pytest.raises(ValidationError, match=r"a_new_key\n.*Extra inputs are not permitted"):
        document(name, "1", {"a_new_key": 1})


REPORTED = "tandem.report.findings"
"""Its tables read newer files too, and are written by themselves, so that nothing unknown is in them."""


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bench"])
def test_no_table_within_takes_unknown_keys(name: str) -> None:
    for table in every_table(model_of(name), set()):
        assert table.model_config.get("extra") == "forbid" or table.__module__ == REPORTED, table


def test_a_key_within_a_table_is_refused_too(run: Run) -> None:
    content = json.loads(run("list", "unet_paper", "--json", "-").stdout)
    del content["tandem"], content["schema"], content["command"]
    content["specs"][0]["colour"] = "red"
    with pytest.raises(ValidationError, match="colour"):
        document("list", "1", content)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "monai_basic_unet_plus_plus"),
        ("show", "nnunet_plain_3d"),
        ("show", "unet_paper", "monai_unet"),
    ],
    ids=" ".join,
)
def test_what_is_written_is_what_the_model_says(run: Run, arguments: tuple[str, ...]) -> None:
    # `run` reads it again by its model: see conftest.py, which does so for every command of every test.
    values = json.loads(run(*arguments, "--json", "-").stdout)
    assert (values["schema"], list(values)[:3]) == (SCHEMA, ["tandem", "schema", "command"])


def test_numbers_that_are_not_finite_come_back(run: Run) -> None:
    (record,) = made_up("pytorch", [0.1], status="not_comparable")
    gate = {"comparable": False, "distance": float("inf"), "quantity": "loss", "limit": 64.0}
    record = Record.model_validate(record.model_dump() | {"gate": gate})
    text = document("report", "1", {"checks": [], "records": [record]}).to_json()
    assert json.loads(text)["records"][0]["gate"]["distance"] == "Infinity"
    again: Any = model_of("report").model_validate_json(text)
    assert again.records[0].gate.distance == float("inf")


def test_a_verdict_says_what_parity_says() -> None:
    from parity.verdict import SCHEMA_VERSION

    assert get_args(Verdict.model_fields["version"].annotation) == (SCHEMA_VERSION,)
    assert "checks" in CheckFile.model_fields


def test_the_schemas_are_those_of_the_models() -> None:
    written = schemas.files()
    assert sorted(path.name for path in schemas.FOLDER.iterdir()) == sorted(path.name for path in written)
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m docs.schemas"


def test_the_page_is_that_of_the_models() -> None:
    page = read("docs/json.md")
    for name, text in schemas.tables().items():
        assert f"<!-- begin: {name} -->\n{text}\n<!-- end: {name} -->" in page, f"{name}: run python -m docs.schemas"
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [*MODELS, "Tables"]


def test_every_reference_of_a_schema_leads_somewhere() -> None:
    definitions = json.loads((schemas.FOLDER / schemas.DEFINITIONS).read_text(encoding="utf-8"))["$defs"]

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for path in schemas.FOLDER.iterdir():
        for reference in references(json.loads(path.read_text(encoding="utf-8"))):
            file, _, name = reference.partition("#/$defs/")
            assert file == ("" if path.name == schemas.DEFINITIONS else schemas.DEFINITIONS)
            assert name in definitions
