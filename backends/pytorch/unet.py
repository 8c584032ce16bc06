"""The U-Net as an ordinary torch.nn.Module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor, nn

from shared_specs import UNetSpec
from shared_specs.layout import IMAGES, Layer, schedule

from . import layers, resampling

KINDS = layers.KINDS | resampling.KINDS

Step = tuple[nn.Module, str, tuple[str, ...], str, tuple[str, ...]]
"""A layer in the loop: where it hangs (a module that is replaced there is the one that runs), the maps that it reads,
the one that it makes, and those that nothing needs afterwards."""


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) built from a spec.

    Maps images (N, C, H, W) or (N, C, D, H, W) to logits (N, classes, H', W'). Modules and parameters have the
    canonical names of the spec, so `encoder[0].block[1].conv` is a convolution, and `state_dict()` is the canonical
    weights plus batch norm's `num_batches_tracked`.
    """

    def __init__(self, spec: UNetSpec):
        super().__init__()
        self.spec = spec
        for layer in spec.layers:
            hang(self, layer.name.split("."), KINDS[layer.kind](layer))
        set_overwriting(self, spec.layers, True)  # saves copies of maps
        self._outputs = (spec.logits, *spec.deep_logits)
        self._inference = self._steps([layer for layer in spec.layers if not layer.is_deep])
        self._training = self._steps(spec.layers)

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        return self._run(images, self._inference)[self._outputs[0]]

    def heads(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits and those of the heads of deep supervision, in the order of `spec.loss_weights`."""
        maps = self._run(images, self._training)
        return tuple(maps[name] for name in self._outputs)

    def _steps(self, layers: Sequence[Layer]) -> list[Step]:
        steps = []
        for layer, done_with in schedule(layers, self._outputs):
            parent, _, key = layer.name.rpartition(".")
            steps.append((self.get_submodule(parent), key, layer.inputs, layer.name, done_with))
        return steps

    def _run(self, images: Tensor, steps: list[Step]) -> dict[str, Tensor]:
        maps = {IMAGES: images}
        for parent, key, inputs, name, done_with in steps:
            maps[name] = getattr(parent, key)(*[maps[source] for source in inputs])
            for finished in done_with:
                del maps[finished]
        return maps


def hang(tree: nn.Module, path: list[str], layer: nn.Module) -> None:
    """Put a layer into the tree at its path; numbers are places in a list."""
    for key, below in zip(path, path[1:], strict=False):
        if not hasattr(tree, key):
            tree.add_module(key, nn.ModuleList() if below.isdigit() else nn.Module())
        tree = tree.get_submodule(key)
    tree.add_module(path[-1], layer)


def set_overwriting(tree: nn.Module, layers: Sequence[Layer], whether: bool) -> None:
    """Let the activations write over their input that may, or none."""
    for layer in overwriting(layers):
        setattr(tree.get_submodule(layer.name), "inplace", whether)  # noqa: B010 (a Module says of no attribute its type)


def overwriting(layers: Sequence[Layer]) -> list[Layer]:
    """The activations that may write over their input: nothing else reads it, nor needs it for a gradient."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    makers = {layer.name: layer.kind for layer in layers}
    return [
        layer
        for layer in layers
        if layer.kind in ("relu", "leaky_relu", "elu")
        and readers[layer.inputs[0]] == 1
        and makers.get(layer.inputs[0]) in OVERWRITABLE
    ]


OVERWRITABLE = ("conv", "transposed_conv", "batch_norm", "instance_norm", "group_norm", "sum")
"""What needs its own output for no gradient of its own."""
