"""What all documents have in common."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
"""Counts up with every change that could break a reader: a key goes, or means something else. New keys may come."""


class Part(BaseModel):
    """A table of a document. Keys that it does not name are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Document(Part):
    """What every document begins with."""

    tandem: str
    """The version of Tandem that wrote it."""
    schema_version: Literal[1] = Field(alias="schema")
    """The version of this format."""

    def to_json(self, ascii_only: bool = False) -> str:
        """The text of the JSON file."""
        text = self.model_dump_json(indent=1, by_alias=True)
        return (json.dumps(json.loads(text), indent=1) if ascii_only else text) + "\n"
