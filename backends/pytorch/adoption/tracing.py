"""A user's own module, watched as it runs: every call that makes a map from another, with owner and parameters."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from shared_specs.errors import one_line

from ...trace import Event, Shape, Trace, TraceError
from . import calls

CHANGE_NOTHING = ("requires_grad", "retain_grad", "grad", "backward", "__init__")
"""Calls on a map that return nothing and leave its values."""

Watch = Callable[[int, Tensor], None]
"""Is told each map with its number, as soon as it is there."""


def trace(module: Any, images: Sequence[int] | np.ndarray, training: bool = False) -> Trace:
    """Run a copy of a module once, and write down what it does.

    Nothing of the module changes: neither its mode nor its buffers, nor the state of PyTorch's random numbers.

    Args:
        module: any torch.nn.Module.
        images: (N, C, H, W), or their shape; then they are random.
        training: whether in training mode, else in that of evaluation.

    Raises:
        TraceError: where it is no module, cannot be copied, or fails on such images.
    """
    check_module(module)
    copied = copy_of(module)
    values = images if isinstance(images, np.ndarray) else np.random.default_rng(0).normal(size=tuple(images))
    return watched(copied.train(training), torch.tensor(values, dtype=dtype_of(copied)))


def check_module(module: Any) -> None:
    """Raises TraceError for what is no module, or one whose forward pass needs more than images."""
    if not isinstance(module, nn.Module):
        raise TraceError(f"got {type(module).__name__!r}, expected a torch.nn.Module")
    try:
        signature = inspect.signature(getattr(module, "_orig_mod", module).forward)
    except (TypeError, ValueError):  # of a forward that Python does not know
        return
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind not in optional]
    if len(needed) > 1:
        raise TraceError(
            f"{type(module).__name__}.forward takes {', '.join(needed)}, expected images alone; "
            "wrap it in a module that gives it the rest"
        )


def copy_of(module: nn.Module) -> nn.Module:
    """A copy on the CPU. Raises TraceError."""
    if isinstance(module, torch.jit.ScriptModule):
        raise TraceError(f"{type(module).__name__} is compiled TorchScript, which cannot be watched; give the module")
    try:
        return copy.deepcopy(getattr(module, "_orig_mod", module)).cpu()  # of torch.compile, the module inside
    except Exception as error:  # the user's own class may say anything
        raise TraceError(f"{type(module).__name__} cannot be copied ({reason(error)})") from error


def dtype_of(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def watched(module: nn.Module, images: Tensor, watch: Watch | None = None) -> Trace:
    """Run the module as it stands, in its own mode. Raises TraceError where it fails."""
    recorder = Recorder(module, images, watch)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), owners(module, recorder), recorder:
        outputs = run(module, images)
    recorder.look()
    numbers = tuple(recorder.numbers[id(output)] for output in outputs if id(output) in recorder.numbers)
    if not recorder.events or not numbers:
        raise TraceError(f"{type(module).__name__} makes nothing of the images that could be watched")
    state = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    names = {key: recorder.keys.get(id(tensor), key) for key, tensor in module.state_dict(keep_vars=True).items()}
    aliases = {key: name for key, name in names.items() if key != name}
    return Trace(type(module).__name__, recorder.effective(numbers), numbers, recorder.shapes, state, aliases)


def run(module: nn.Module, images: Tensor) -> list[Tensor]:
    """The module's outputs in a row; a tuple's, a list's or a dict's first one are the logits. Raises TraceError."""
    try:
        returned = module(images)
    except Exception as error:  # the user's own code may fail in any way
        shape = "x".join(map(str, images.shape))
        raise TraceError(f"{type(module).__name__} fails on images {shape} ({reason(error)})") from error
    outputs = list(flat(returned))
    if not outputs:
        raise TraceError(f"{type(module).__name__} returned {type(returned).__name__!r}, expected a tensor")
    return outputs


def flat(returned: Any) -> Iterator[Tensor]:
    """The tensors in what a module returned."""
    if isinstance(returned, Tensor):
        yield returned
    elif isinstance(returned, Mapping):
        yield from flat(list(returned.values()))
    elif isinstance(returned, list | tuple):
        for part in returned:
            yield from flat(part)


def reason(error: Exception) -> str:
    """An error of someone else's code in one line."""
    words = one_line(str(error))
    return f"{type(error).__name__}: {words[:300]}" if words else type(error).__name__


class Recorder(TorchFunctionMode):
    """Sees every call of PyTorch's functions, of modules' and users' own alike, but none that those call in turn."""

    def __init__(self, module: nn.Module, images: Tensor, watch: Watch | None = None):
        super().__init__()
        self.keys = {id(tensor): key for key, tensor in reversed(module.state_dict(keep_vars=True).items())}
        self.watch = watch
        self.events: list[Event] = []
        self.numbers: dict[int, int] = {}  # of the maps, by identity
        self.shapes: dict[int, Shape] = {}
        self.alive: dict[int, Tensor] = {}  # an identity stands for one object only as long as that lives
        self.versions: dict[int, int] = {}  # as of the last look
        self.besides: set[int] = set()  # maps that a call changed without returning them
        self.owner: list[tuple[str, nn.Module]] = []
        self._number(images)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Before it runs, as afterwards a tensor that is changed in place is another map.
        self.look()
        before = dict(self.numbers)
        result = func(*args, **kwargs)
        outputs, name = list(flat(result)), _name(func)
        read = [before[id(part)] for value in (*args, *kwargs.values()) for part in flat(value) if id(part) in before]
        changed = self._other_versions()
        if outputs and read:
            self._record(name, args, kwargs, result, before, outputs)
        if result is None and args and id(args[0]) in before and name not in CHANGE_NOTHING:
            changed.append(args[0])  # `x.data = ...` leaves the version as it is
        if changed:
            self._changed(name, changed, read, before, outputs)
        return result

    def look(self) -> None:
        """See which maps were changed by what is no call of a PyTorch function, such as TorchScript."""
        changed = self._other_versions()
        if changed:
            self._changed("change in place", changed, (), dict(self.numbers), ())

    def _other_versions(self) -> list[Tensor]:
        return [tensor for key, tensor in self.alive.items() if _version(tensor) != self.versions[key]]

    def _changed(
        self,
        name: str,
        changed: Sequence[Tensor],
        read: Sequence[int],
        before: Mapping[int, int],
        outputs: Sequence[Tensor],
    ) -> None:
        """Maps that were changed in place, and those that share memory with them, are other maps from here on.

        What the call returned has its number already. The spec has no word for the others: an assignment to a part
        of a map, or a change of a map by way of its alias.
        """
        memory, identities = {_memory(tensor) for tensor in changed}, {id(tensor) for tensor in changed}
        for key, number in before.items():
            tensor = self.alive[key]
            self.versions[key] = _version(tensor)
            if (key in identities or _memory(tensor) in memory) and not any(tensor is output for output in outputs):
                owner = self.owner[-1][0] if self.owner else ""
                inputs = tuple(dict.fromkeys((number, *read)))
                self.events.append(Event("other", name.strip("_"), owner, inputs, self._number(tensor)))
                self.besides.add(self.numbers[key])

    def effective(self, outputs: Sequence[int]) -> tuple[Event, ...]:
        """The events without changes of maps that nobody reads afterwards."""
        read, kept = set(outputs), []
        for event in reversed(self.events):
            if event.output in read or event.output not in self.besides:
                read.update(event.inputs)
                kept.append(event)
        return tuple(reversed(kept))

    def _record(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        result: Any,
        before: Mapping[int, int],
        outputs: list[Tensor],
    ) -> None:
        call = calls.read(name, args, kwargs, result)
        known = [before.get(id(x)) for x in call.inputs if isinstance(x, Tensor)]
        inputs = tuple(number for number in known if number is not None)
        kind = call.kind if len(outputs) == 1 and None not in known else "other"
        owner, module = self.owner[-1] if self.owner else ("", None)
        settings, parameters = dict(call.settings), {}
        for leaf, tensor in call.tensors.items():
            if tensor is not None and id(tensor) in self.keys:
                parameters[leaf] = self.keys[id(tensor)]
            elif tensor is not None:
                settings.setdefault("computed", []).append(leaf)
        if kind == "batch_norm" and isinstance(module, _BatchNorm):
            settings["momentum"] = module.momentum  # None, which is a cumulative average, arrives as 0
        if kind == "dropout":
            settings["follows_mode"] = isinstance(module, _DropoutNd)
        for output in outputs:
            self.events.append(Event(kind, name.strip("_"), owner, inputs, self._number(output), settings, parameters))

    def _number(self, tensor: Tensor) -> int:
        number = len(self.shapes)
        self.numbers[id(tensor)] = number
        self.shapes[number] = tuple(tensor.shape)
        self.alive[id(tensor)], self.versions[id(tensor)] = tensor, _version(tensor)
        if self.watch is not None:
            self.watch(number, tensor)
        return number


def _name(func: Any) -> str:
    """For instance conv2d, or shape where it is a property."""
    name = getattr(func, "__name__", str(func))
    return getattr(func.__self__, "__name__", name) if name in ("__get__", "__set__") else name


def _version(tensor: Tensor) -> int:
    """Counts the changes in place."""
    if tensor.is_inference():
        raise TraceError("it runs in torch.inference_mode, in which changes in place cannot be watched")
    return tensor._version


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except (RuntimeError, NotImplementedError):  # sparse ones have none
        return id(tensor)


@contextlib.contextmanager
def owners(module: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Keep the recorder informed of which submodule runs."""

    def enter(name: str) -> Callable[..., None]:
        return lambda module, inputs: recorder.owner.append((name, module))

    handles = []
    for name, submodule in module.named_modules():
        handles.append(submodule.register_forward_pre_hook(enter(name), prepend=True))
        handles.append(submodule.register_forward_hook(lambda module, inputs, output: recorder.owner.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
