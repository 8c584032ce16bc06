"""`tandem convert --json` and `tandem adopt --json`."""

from __future__ import annotations

from typing import Literal

from shared_specs import UNetSpec

from .base import Document, Part
from .checks import Verdict


class WeightsFile(Part):
    """A checkpoint that was read or written."""

    path: str
    format: str
    """`canonical`, `pytorch`, `flax_nnx` or `flax_linen`."""
    scheme: str
    """Whose names its tensors have."""


class ReadBack(Part):
    """What was written, read again and compared."""

    equal: bool
    changed: tuple[str, ...]
    """Tensors that differ in bits."""
    backends: tuple[str, ...]
    """Who computed with the source's weights and who with the target's."""
    verdict: Verdict


class ConvertDocument(Document):
    """Weights that were moved from one file to another."""

    command: Literal["convert"]
    spec: UNetSpec
    narrow: int
    source: WeightsFile
    target: WeightsFile
    remarks: tuple[str, ...]
    dtypes: dict[str, int]
    """How many tensors there are of each."""
    check: ReadBack | None
    """Null with `--no-check`."""


class Differing(Part):
    """Where a module is not what the spec says."""

    layer: str
    """The spec's layer."""
    where: str
    """The place in the module, or empty."""
    what: str
    """What differs, for instance `epsilon`."""
    module: str
    """The module's value, in words."""
    spec: str
    """The spec's value, in words."""


class AdoptDocument(Document):
    """What became of a user's own module."""

    command: Literal["adopt"]
    kind: Literal["tandem adoption"]
    equal: bool
    module: str
    """The name of its class."""
    spec: UNetSpec | None
    """As given or inferred; null where it could not be inferred."""
    inferred: bool
    reason: str
    """Why there is no spec, or no proof."""
    advice: str
    nearest: tuple[str, ...]
    """The networks of the zoo that come nearest, where no spec was inferred."""
    differences: tuple[Differing, ...]
    assumed: tuple[str, ...]
    """What could not be seen, and was taken for granted."""
    keys: dict[str, str]
    """The module's key of each canonical tensor."""
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    """Which of the module's tensors have no place in the spec, in words."""
    verdict: Verdict | None
    files: dict[str, str]
    """What was written, by what it is: `spec`, `keymap`, `weights`."""
