"""What the hand-written module and the peers share: an eager PyTorch step, as a newcomer writes it, for a worker."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import nn

from backends.contract import Backend, BackendError, Capabilities, Execution, Model, check_phase
from shared_specs import SGD, Recipe, UNetSpec

CUDNN_CONV: Any = attrgetter("cudnn.conv")(torch.backends)


class EagerBackend(Backend):
    capabilities = Capabilities(precisions=("float32",), tunings=("default",))

    def devices(self) -> list[str]:
        return ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}


class EagerModel(Model):
    """A module with a program for each phase, in float32 and with plain SGD.

    Args:
        who: what errors call it.
        why_only_timed: what is said to those who ask for more than a time.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: UNetSpec,
        execution: Execution,
        recipe: Recipe,
        who: str,
        why_only_timed: str,
    ):
        self.spec, self.execution, self.recipe = spec, execution, recipe
        self.who, self.why_only_timed = who, why_only_timed
        # Convolutions on a GPU take TF32 unless told otherwise; the gate would refuse that as float32.
        CUDNN_CONV.fp32_precision = "ieee"
        self.device = torch.device(execution.device)
        self.module = module.to(self.device)

    def reset_optimizer(self) -> None:
        """Forget the optimizer's state. Raises BackendError where the recipe is not plain SGD."""
        chosen = self.recipe.optimizer
        if not isinstance(chosen, SGD) or chosen.nesterov or chosen.weight_decay:
            raise BackendError(f"{self.who} trains with SGD and momentum alone; take the default recipe")
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=chosen.learning_rate, momentum=chosen.momentum)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        model, optimizer, criterion = self.module, self.optimizer, nn.CrossEntropyLoss()
        x = torch.tensor(images, dtype=torch.float32, device=self.device)
        y = None if labels is None else torch.tensor(labels, dtype=torch.int64, device=self.device)

        def forward() -> dict[str, Any]:
            with torch.no_grad():
                return {"logits": model(x)}

        def forward_backward() -> dict[str, Any]:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            return {"loss": loss.detach(), "gradients": [parameter.grad for parameter in model.parameters()]}

        def train_step() -> dict[str, Any]:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach()}

        model.train(phase != "forward")
        return {"forward": forward, "forward_backward": forward_backward, "train_step": train_step}[phase]

    def fetch(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        return {name: value.cpu().numpy() for name, value in outputs.items() if name != "gradients"}

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def effective_precision(self) -> str:
        exact = CUDNN_CONV.fp32_precision == "ieee" or self.device.type == "cpu"
        return "float32" if exact else "tf32"

    def _only_timed(self, *arguments: Any, **named: Any) -> Any:
        raise BackendError(self.why_only_timed)

    read_tensor = optimizer_state = forward = activations = loss_and_gradients = train_step = _only_timed
