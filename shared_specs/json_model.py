"""What is written to a JSON file for people and programs, and read again."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class JsonModel(BaseModel):
    """A model that never changes, refuses unknown keys, and reads what it wrote.

    NaN and infinity, which JSON has not, are written as strings and read as numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, values: Any) -> Any:
        """Figures that follow from others stand in the file for readers; they are computed again."""
        computed = cls.model_computed_fields
        return {k: v for k, v in values.items() if k not in computed} if isinstance(values, dict) else values

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return json.loads(self.model_dump_json())
