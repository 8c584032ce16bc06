"""What `--json` writes: one pydantic model for each command, from which the schemas and docs/json.md are made.

A command's keys are checked against its model when they are written, so that no key is written that the schema does
not know. The models are imported only where JSON was asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from .base import SCHEMA, Document, Part

MODELS = {
    "list": ("zoo", "ListDocument"),
    "show": ("show", "ShowDocument"),
    "show_difference": ("show", "DifferenceDocument"),
    "doctor": ("doctor", "DoctorDocument"),
    "check": ("checks", "CheckDocument"),
    "curves": ("curves", "CurvesDocument"),
    "adopt": ("weights", "AdoptDocument"),
    "convert": ("weights", "ConvertDocument"),
    "compare": ("timing", "CompareDocument"),
    "bench": ("timing", "BenchDocument"),
    "bench_cluster": ("timing", "BenchClusterDocument"),
    "scale": ("timing", "ScaleDocument"),
    "scale_replicas": ("timing", "ScaleReplicasDocument"),
    "report": ("timing", "ReportDocument"),
}
"""By the name of the document, which is that of its command: the module of this package and the class."""


def model_of(name: str) -> type[Part]:
    """The model of a document. Raises KeyError where the name is none of MODELS."""
    module, attribute = MODELS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def document(name: str, version: str, content: dict[str, Any]) -> Document:
    """A command's document of what it found.

    Raises:
        ValidationError: for a key that the model does not know, or a value that is none of it: a bug.
    """
    made = model_of(name).model_validate({"tandem": version, "schema": SCHEMA, "command": name, **content})
    assert isinstance(made, Document)
    return made


__all__ = ["MODELS", "SCHEMA", "Document", "Part", "document", "model_of"]
