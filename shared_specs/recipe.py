"""How a network is trained: loss and optimizer, defined once, so that every framework computes the same step.

The formulas are those of torch.optim, in float arithmetic order aside; g is the gradient, w the parameter, t the
step counted from 1, and every parameter is treated alike (norms and biases decay too).

    SGD    g += weight_decay w;  b = momentum b + g  (b starts at 0);  w -= lr (g + momentum b if nesterov else b)
    Adam   g += weight_decay w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
           w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)           (Kingma & Ba 2015, arXiv 1412.6980)
    AdamW  w -= lr weight_decay w, beside Adam's step on the plain gradient      (Loshchilov & Hutter, 1711.05101)
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from .errors import SpecError
from .problems import describe
from .tables import Real, Table

Rate = Annotated[Real, Field(ge=0)]
Decay = Annotated[Real, Field(ge=0, lt=1)]


class SGD(Table):
    kind: Literal["sgd"] = "sgd"
    learning_rate: Rate = 0.01
    momentum: Decay = 0.9
    nesterov: bool = False
    weight_decay: Rate = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("momentum: got 0, expected more than 0 as nesterov is on")
        return self


class Adam(Table):
    """Adam with the weight decay added to the gradient (L2 regularisation)."""

    kind: Literal["adam"] = "adam"
    learning_rate: Rate = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Annotated[Real, Field(gt=0)] = 1e-8
    weight_decay: Rate = 0.0


class AdamW(Table):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Rate = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Annotated[Real, Field(gt=0)] = 1e-8
    weight_decay: Rate = 1e-2


OPTIMIZERS: dict[str, type[SGD | Adam | AdamW]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


BatchStatistics = Literal["global", "per_replica"]
BATCH_STATISTICS: tuple[BatchStatistics, ...] = get_args(BatchStatistics)


class Recipe(Table):
    """Loss and optimizer. The loss is the cross-entropy per pixel, averaged over batch and pixels.

    A single logit is that of class 1, beside a 0 for class 0: the binary cross-entropy.

    Where several replicas share a batch, a batch norm's statistics are those of the whole batch ("global"), or each
    replica has its own ("per_replica"). For a network with batch norm these are two different models; without, and on
    one device, they are the same.
    """

    loss: Literal["cross_entropy"] = "cross_entropy"
    optimizer: Annotated[SGD | Adam | AdamW, Field(discriminator="kind")] = SGD()
    batch_statistics: BatchStatistics = "global"

    @property
    def state_slots(self) -> tuple[str, ...]:
        """The optimizer's state per parameter, by canonical slot name; Adam's also count a "step"."""
        if isinstance(self.optimizer, SGD):
            return ("momentum",) if self.optimizer.momentum else ()
        return ("first_moment", "second_moment")

    @classmethod
    def named(cls, kind: str, **hyper_parameters: Any) -> Recipe:
        """A recipe by the optimizer's name: "sgd", "adam" or "adamw".

        Raises:
            SpecError: for an unknown optimizer or hyper-parameter, or a value out of range.
        """
        if kind not in OPTIMIZERS:
            raise SpecError(f"no optimizer is named {kind!r}; take one of {', '.join(OPTIMIZERS)}")
        try:
            return cls(optimizer=OPTIMIZERS[kind](**hyper_parameters))
        except ValidationError as error:
            raise SpecError(f"recipe: {kind}: {describe(error, hyper_parameters, model=OPTIMIZERS[kind])}") from error
