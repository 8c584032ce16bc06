"""The process that times conversions of checkpoints: it knows every format, and measures one that arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.checkpoints import FORMATS
from benchmarks.convert_checkpoint import ConvertWorker, name_of
from tandem.commands.convert import format_of_target


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_checkpoint_is_called_tells_its_format(name: str) -> None:
    assert format_of_target(Path(name_of(name)), name) == name


def test_a_conversion_is_timed_and_what_arrives_is_what_was_sent() -> None:
    worker = ConvertWorker()
    started = worker.start("unet_bn_same", 32, "canonical", "canonical")
    assert started["weights_bytes"] > 4 * worker.spec.parameter_count
    assert worker.window()["seconds"] > 0
    assert worker.finish() == {"equal": True}
