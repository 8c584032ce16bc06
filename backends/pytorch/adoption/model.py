"""A user's own module behind the contract of a model, so that parity can compare it with what the spec builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shared_specs import Recipe, UNetSpec
from shared_specs import checkpoints as safetensors
from shared_specs.checkpoints import listed
from shared_specs.layout import Layer
from shared_specs.weights import Weights, check_weights

from ...contract import Execution, StepResult
from ...trace import TraceError
from ..model import PyTorchModel
from ..unet import UNet, hang
from ..weights import LEAVES
from .state import read_state
from .tracing import copy_of, reason, run, watched


class OwnUNet(PyTorchModel):
    """A copy of a `UNet`, which somebody built, trained or changed.

    Args:
        module: a `backends.pytorch.UNet`, or of a class of that.
        spec: what it was built from.
        execution, recipe: how the copy is run.

    Raises:
        WeightsError: where it was built from another spec.
    """

    def __init__(self, module: UNet, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.theirs = module
        weights = safetensors.to_canonical(spec, read_state(module))
        check_weights(spec, weights, origin=type(module).__name__)
        super().__init__(spec, execution, recipe)
        self.load_weights(weights)

    def _new_module(self, spec: UNetSpec) -> UNet:
        copied = _copy_to_train(self.theirs)
        assert isinstance(copied, UNet)
        return copied.requires_grad_()  # frozen ones too, to compare their gradients


class AdoptedModel(PyTorchModel):
    """A copy of a module with its tensors under canonical names.

    Args:
        module: the user's.
        spec: what it is to be.
        keys: canonical tensor name to key of the module's state dict.
        maps: layer name to the number of the map in the module's trace.
        execution, recipe: how the copy is run.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: UNetSpec,
        keys: Mapping[str, str],
        maps: Mapping[str, int],
        execution: Execution,
        recipe: Recipe,
    ):
        self.theirs, self.keys, self.maps = module, keys, maps
        super().__init__(spec, execution, recipe)
        state = read_state(module)
        self.load_weights({name: state[key] for name, key in keys.items()})

    module: Renamed

    @property
    def most_outputs(self) -> int:
        """How many tensors the module has returned at most, in training or not."""
        return self.module.most_outputs

    def _build(self, spec: UNetSpec) -> Any:
        copied = _copy_to_train(self.theirs).to(self.dtype)
        for parameter in copied.parameters():
            parameter.requires_grad_(parameter.is_floating_point())  # of frozen ones too, to compare their gradients
        return Renamed(copied, spec, self.keys)

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> StepResult:
        try:
            return super().loss_and_gradients(images, labels)
        except (RuntimeError, AssertionError) as error:  # of autograd, through the user's own code
            raise TraceError(f"{type(self.theirs).__name__} cannot be trained ({reason(error)})") from error

    def activations(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.check_images(images)
        wanted, kept = set(self.maps.values()), dict[int, np.ndarray]()

        def keep(number: int, tensor: Tensor) -> None:
            if number in wanted:  # a copy, since the next call may change it in place
                kept[number] = tensor.detach().numpy().copy()

        self._set_training(False)
        with self._settings():
            watched(self.module.theirs, self._on_device(images), keep)
        return {layer.name: kept[self.maps[layer.name]] for layer in self.spec.layers if layer.name in self.maps}


def own_model(
    module: Any, spec: UNetSpec, execution: Execution, recipe: Recipe, port_of: Weights | None
) -> PyTorchModel | None:
    """A copy of a `UNet` behind the contract; None for any other module, which has to be traced first."""
    return OwnUNet(module, spec, execution, recipe) if isinstance(module, UNet) else None


def _copy_to_train(module: nn.Module) -> nn.Module:
    """A copy. Raises TraceError where it would have other gradients: copies of parameters are without their hooks."""
    hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
    hooked = [name for name, p in module.named_parameters() if any(getattr(p, kind, None) for kind in hooks)]
    if hooked:
        raise TraceError(
            f"{type(module).__name__} has hooks on the gradients of {listed(hooked, 8)}, which a copy has not; "
            "remove them, and compare what is left"
        )
    return copy_of(module)


class Renamed(nn.Module):
    """A module whose tensors hang in a tree with the canonical names as well; they are the same tensors.

    Attributes:
        most_outputs: how many tensors the module has returned at most.
    """

    def __init__(self, module: nn.Module, spec: UNetSpec, keys: Mapping[str, str]):
        super().__init__()
        self.spec = spec
        self.most_outputs = 0
        self.hidden = (module,)  # not as a submodule, or its tensors would be there twice
        state = module.state_dict(keep_vars=True)
        for layer in spec.layers:
            hang(self, layer.name.split("."), _holder(layer, {t.name: state[keys[t.name]] for t in layer.tensors}))

    @property
    def theirs(self) -> nn.Module:
        """The user's module."""
        return self.hidden[0]

    def train(self, mode: bool = True) -> Renamed:
        self.theirs.train(mode)
        return super().train(mode)

    def forward(self, images: Tensor) -> Tensor:
        return self.heads(images)[0]

    def heads(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits, and what the module returned after them, where the spec has heads of deep supervision."""
        with WithoutDropout():
            outputs = run(self.theirs, images)
        self.most_outputs = max(self.most_outputs, len(outputs))
        return tuple(outputs[: 1 + len(self.spec.deep_logits)])


def _holder(layer: Layer, tensors: Mapping[str, Tensor]) -> nn.Module:
    holder = nn.Module()
    for tensor in layer.tensors:
        held, (leaf, _) = tensors[tensor.name], LEAVES[tensor.leaf]
        if isinstance(held, nn.Parameter):
            holder.register_parameter(leaf, held)
        else:
            holder.register_buffer(leaf, held)
    return holder


class WithoutDropout(TorchFunctionMode):
    """What is random cannot be compared: every dropout, of a module or a function, does nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "dropout" in getattr(func, "__name__", ""):
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))
