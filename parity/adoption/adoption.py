"""What became of a user's module that was adopted: its spec, where each tensor goes, and the proof."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from shared_specs import UNetSpec
from shared_specs.keymap import Checkpoint

from ..verdict import Verdict
from .differences import Difference, told
from .found import Match
from .key_map import key_map

YOURS = "your module"
"""What the user's module is called in a verdict."""


@dataclass(frozen=True)
class Adoption:
    """What became of a module.

    Attributes:
        module: the name of its class.
        spec: the one that was given, or inferred; None where it could not be inferred.
        inferred: whether it was.
        reason: why there is no spec, or no proof, in words; else "".
        advice: what to change in the module where no spec can say what it does; else "".
        match: the layers that were found.
        assumed: what could not be seen, and was taken for granted, in words.
        weights: the module's canonical weights; empty where not every tensor of the spec has its place.
        ignored: the module's keys that the network has no use for.
        aliases: other names of the module's tensors, and the name that `keys` has.
        unused: which of the module's tensors have no place in the spec, in words.
        verdict: the proof; None where there are weights for none.
        nearest: the zoo's networks that come nearest to a module whose branches are not inferred.
    """

    module: str
    spec: UNetSpec | None
    inferred: bool
    reason: str = ""
    advice: str = ""
    match: Match | None = None
    assumed: tuple[str, ...] = ()
    weights: Mapping[str, np.ndarray] = None  # pyright: ignore[reportAssignmentType]
    ignored: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    verdict: Verdict | None = None
    nearest: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the module is the spec: nothing differs, and the proof says so."""
        return not self.differences and self.verdict is not None and self.verdict.equal

    @property
    def differences(self) -> list[Difference]:
        """Where the module is not what the spec says, in order of execution."""
        return [] if self.match is None else self.match.differences

    @property
    def first_difference(self) -> str:
        """The first one, in words: what the trace shows, else what the proof found; "" where the two are equal."""
        if self.differences:
            return str(self.differences[0])
        if self.verdict is not None and self.verdict.first_difference is not None:
            return str(self.verdict.first_difference)
        return self.reason

    @property
    def keys(self) -> dict[str, str]:
        """The module's key of each canonical tensor that was found."""
        return {} if self.match is None else self.match.keys

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The key map: the `[checkpoint]` table of a spec file.

        Raises:
            SpecError: where the module has names that no key map can hold.
        """
        assert self.spec is not None
        return key_map(self.spec, self.module, self.keys, self.ignored, self.aliases)

    @property
    def nearest_told(self) -> str:
        """The nearest networks of the zoo, in words."""
        return f"{' and '.join(self.nearest)} {'come' if len(self.nearest) > 1 else 'comes'} nearest"

    def to_json(self) -> str:
        """All of it as JSON, but the weights."""
        return json.dumps(
            {
                "kind": "tandem adoption",
                "equal": self.equal,
                "module": self.module,
                "spec": None if self.spec is None else self.spec.model_dump(mode="json"),
                "inferred": self.inferred,
                "reason": self.reason,
                "advice": self.advice,
                "nearest": self.nearest,
                "differences": [asdict(difference) for difference in self.differences],
                "assumed": self.assumed,
                "keys": self.keys,
                "ignored": self.ignored,
                "unused": self.unused,
                "verdict": None if self.verdict is None else json.loads(self.verdict.to_json()),
            }
        )

    def __str__(self) -> str:
        name = self.spec.name if self.spec else "no spec"
        lines = [f"{self.module}: {'equal to' if self.equal else 'not'} {name}"]
        lines += [f"  {line}" for line in told(self.differences)]
        lines += [line for line in (self.reason, self.advice) if line]
        lines += [f"give the spec that it is to be; {self.nearest_told}"] if self.nearest else []
        lines += [f"assumed: {words}" for words in self.assumed]
        return "\n".join(lines + ([str(self.verdict)] if self.verdict else []))
