"""Two kinds of model that no check may set side by side: those with global batch statistics, and those without."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import Model
from backends.replicated import ReplicatedModel
from shared_specs import TandemError


def check_one_kind(models: Mapping[str, Model]) -> None:
    """Refuse models of both kinds. A network without batch norm, or on one device, is of the first.

    Raises:
        TandemError: naming one of each.
    """
    kinds = {name: _kind(model) for name, model in models.items()}
    first, *others = kinds
    for other in others:
        if kinds[other] != kinds[first]:
            raise TandemError(
                f"{models[first].spec.name}: {first} has {kinds[first]} batch statistics, and {other} {kinds[other]}: "
                "with batch norm these are two different models; build both with one batch_statistics in the recipe"
            )


def _kind(model: Model) -> str:
    own = isinstance(model, ReplicatedModel) and not model.statistics_are_global
    return "per-replica" if own else "global"
