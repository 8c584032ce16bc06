"""Write the JSON schemas of what the commands write, and the tables in docs/json.md: `python -m docs.schemas`.

Both are made from the models in `tandem/documents`, by which every command's JSON is checked when it is written.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from docs.tables import replace
from shared_specs.files import write_atomically
from tandem.documents import MODELS, SCHEMA, Part, model_of

FOLDER = Path(__file__).parent / "schemas"
PAGE = Path(__file__).parent / "json.md"

DIALECT = "https://json-schema.org/draft/2020-12/schema"

DEFINITIONS = "definitions.json"

NOT_FINITE = {"enum": ["Infinity", "-Infinity", "NaN"]}
"""How records write the numbers that JSON has not."""


class Schemas(GenerateJsonSchema):
    """Pydantic's schemas, with the strings that stand for numbers which are not finite."""

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().float_schema(schema)
        finite = schema.get("allow_inf_nan") is False or self._config.ser_json_inf_nan != "strings"
        return found if finite else {"anyOf": [found, NOT_FINITE]}


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, text.encode())
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables().items():
        page = replace(page, name, text)
    write_atomically(PAGE, page.encode())


def files() -> dict[Path, str]:
    """The schemas by their paths: one of each document, which refers to the definitions that all share."""
    models = [model_of(name) for name in MODELS]
    places, definitions = models_json_schema(
        [(model, "serialization") for model in models], schema_generator=Schemas, by_alias=True
    )
    found = {FOLDER / DEFINITIONS: _text({"$schema": DIALECT, "version": SCHEMA, "$defs": definitions["$defs"]})}
    for name, model in zip(MODELS, models, strict=True):
        own = {
            "$schema": DIALECT,
            "title": f"tandem {name}",
            "description": _words(model),
            "$ref": f"{DEFINITIONS}{places[model, 'serialization']['$ref']}",
        }
        found[FOLDER / f"{name}.json"] = _text(own)
    return found


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def tables() -> dict[str, str]:
    """The keys of each document as a Markdown table, and those of the tables that occur more than once."""
    models = [model_of(name) for name in MODELS]
    shared = shared_parts(models)
    found = {
        f"json {name}": f"[Schema](schemas/{name}.json). {table(model, shared)}"
        for name, model in zip(MODELS, models, strict=True)
    }
    parts = [f"### {title(part)}\n\n{table(part, shared)}" for part in shared]
    return found | {"json tables": "\n\n".join(parts)}


def table(model: type[BaseModel], shared: Sequence[type[BaseModel]]) -> str:
    """One row a key, those of tables within it dotted; of the keys that all documents have, none."""
    rows = [f"| `{key}` | {kind} | {words} |" for key, kind, words in keys(model, shared)]
    above = [f"The keys of a {link(base)}, and:" for base in model.__bases__ if base in shared]
    return "\n\n".join(
        [_words(model), *above, "\n".join(["| key | type | what it is |", "| --- | --- | --- |", *rows])]
    )


def keys(model: type[BaseModel], shared: Sequence[type[BaseModel]], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key with its type and what it is; `[]` stands for each of a list, `.*` for each key of a table."""
    above = {name for base in model.__bases__ if base in shared for name in base.model_fields}
    for name, field in model.model_fields.items():
        if name in above or (not prefix and name in ("tandem", "schema_version", "command")):
            continue
        below, suffix = _part(field.annotation)
        below = None if below in shared else below
        words = field.description or (_words(below) if below else "")
        yield f"{prefix}{name}", in_words(field.annotation, shared), words
        if below is not None:
            yield from keys(below, shared, f"{prefix}{name}{suffix}.")


def shared_parts(models: Sequence[type[BaseModel]]) -> list[type[BaseModel]]:
    """The tables that occur more than once, which get a section of their own, in the order in which they are met."""
    met: dict[type[BaseModel], int] = {}

    def visit(model: type[BaseModel]) -> None:
        for field in model.model_fields.values():
            below, _ = _part(field.annotation)
            if below is not None:
                met[below] = met.get(below, 0) + 1
                if met[below] == 1:
                    visit(below)

    for model in models:
        visit(model)
    return [part for part, count in met.items() if count > 1]


def title(part: type[BaseModel]) -> str:
    """ "shown layer"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part.__name__).lower()


def link(part: type[BaseModel]) -> str:
    return f"[{title(part)}](#{title(part).replace(' ', '-')})"


def _words(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring."""
    return " ".join((model.__doc__ or "").strip().partition("\n\n")[0].split())


def _part(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The table of ours that an annotation holds, and how its keys are reached."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation, ""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is tuple and len(inner) == 2 and inner[1] is ...:
        return _part(inner[0])[0], "[]"
    if origin is dict:
        return _part(inner[1])[0], ".*"
    if origin in (Union, types.UnionType):
        return next((found for part in inner if (found := _part(part))[0] is not None), (None, ""))
    return None, ""


NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null", Any: "any"}


def in_words(annotation: Any, shared: Sequence[type[BaseModel]]) -> str:
    """A type as a reader of JSON knows it."""
    if annotation in NAMES:
        return NAMES[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return f"list of {' and '.join(dict.fromkeys(in_words(part, shared) for part in inner if part is not ...))}"
    if origin is dict:
        return f"table of {in_words(inner[1], shared)}"
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(part, shared) for part in inner)
    if origin is not None:  # Literal
        return ", ".join(f"`{json.dumps(value)}`" for value in inner)
    if annotation in shared:
        return link(annotation)
    return "table" if issubclass(annotation, Part) else {"UNetSpec": "spec"}.get(annotation.__name__, title(annotation))


if __name__ == "__main__":
    main()
