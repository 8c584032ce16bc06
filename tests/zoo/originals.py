"""The implementations that the zoo's files describe, as their packages build them, and runs of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from shared_specs import UNetSpec
from shared_specs.keymap import is_ignored, original_keys
from shared_specs.supervision import labels_of_heads


@dataclass(frozen=True)
class Original:
    """A network of another package.

    Attributes:
        module: where the package has it.
        build: makes it from that module, as wide as the spec.
        images: a shape (N, C, H, W) on which no norm sees one value alone.
        divisor: of the widths, so that the test is quick; 1 where the package fixes the widths.
    """

    module: str
    build: Callable[[Any, UNetSpec], Any]
    images: tuple[int, ...]
    divisor: int

    def network(self, spec: UNetSpec) -> Any:
        """The torch module in float64. Skips the test where the package is missing."""
        pytest.importorskip(
            self.module,
            reason=f"the original is in {self.module}, which cannot be imported here; see the extra `peers`",
            exc_type=ImportError,
        )
        return self.build(importlib.import_module(self.module), spec).double()


def monai_basic_unet(nets: Any, spec: UNetSpec) -> Any:
    # The sixth is the width of the last decoder level.
    features = (*spec.widths, spec.width("decoder", 0))
    return nets.BasicUNet(spec.dimensions, spec.in_channels, spec.out_channels, features)


def monai_basic_unet_plus_plus(nets: Any, spec: UNetSpec) -> Any:
    features = (*spec.widths, spec.width("decoder", 0))
    return nets.BasicUNetPlusPlus(spec.dimensions, spec.in_channels, spec.out_channels, features)


def monai_unet(nets: Any, spec: UNetSpec) -> Any:
    return nets.UNet(
        spec.dimensions, spec.in_channels, spec.out_channels, spec.widths, (2, 2, 2, 2), num_res_units=2, norm="batch"
    )


def monai_attention_unet(nets: Any, spec: UNetSpec) -> Any:
    return nets.AttentionUnet(spec.dimensions, spec.in_channels, spec.out_channels, spec.widths, (2, 2, 2, 2))


def nnunet(spec: UNetSpec) -> dict[str, Any]:
    """What nnU-Net plans, in the arguments that both of its networks have."""
    from torch import nn

    return {
        "input_channels": spec.in_channels,
        "n_stages": spec.levels,
        "features_per_stage": spec.widths,
        "conv_op": nn.Conv2d if spec.dimensions == 2 else nn.Conv3d,
        "kernel_sizes": 3,
        "strides": (1,) + (2,) * (spec.levels - 1),
        "num_classes": spec.out_channels,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm2d if spec.dimensions == 2 else nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }


def nnunet_plain(nets: Any, spec: UNetSpec) -> Any:
    return nets.PlainConvUNet(n_conv_per_stage=2, n_conv_per_stage_decoder=2, **nnunet(spec))


def nnunet_residual_encoder(nets: Any, spec: UNetSpec) -> Any:
    blocks = (1, 3, 4, 6, 6, 6, 6)[: spec.levels]
    return nets.ResidualEncoderUNet(n_blocks_per_stage=blocks, n_conv_per_stage_decoder=1, **nnunet(spec))


def smp_unet_resnet34(smp: Any, spec: UNetSpec) -> Any:
    return smp.Unet("resnet34", encoder_weights=None, in_channels=spec.in_channels, classes=spec.out_channels)


MONAI, NNUNET = "monai.networks.nets", "dynamic_network_architectures.architectures.unet"

# Sides that differ from axis to axis, and odd ones where the network takes them. An instance norm of two values a
# channel would blow up rounding: their variance may be next to nothing.
ORIGINALS = {
    "monai_attention_unet": Original(MONAI, monai_attention_unet, (2, 1, 48, 32), 2),
    "monai_basic_unet": Original(MONAI, monai_basic_unet, (2, 1, 39, 32, 33), 8),
    "monai_basic_unet_plus_plus": Original(MONAI, monai_basic_unet_plus_plus, (2, 1, 39, 50), 8),
    "monai_unet": Original(MONAI, monai_unet, (2, 1, 16, 32, 48), 4),
    "nnunet_plain_2d": Original(NNUNET, nnunet_plain, (2, 1, 128, 192), 8),
    "nnunet_plain_3d": Original(NNUNET, nnunet_plain, (1, 1, 32, 64, 96), 16),
    "nnunet_residual_encoder_2d": Original(NNUNET, nnunet_residual_encoder, (2, 1, 128, 192), 8),
    "nnunet_residual_encoder_3d": Original(NNUNET, nnunet_residual_encoder, (1, 1, 32, 64, 96), 16),
    "smp_unet_resnet34": Original("segmentation_models_pytorch", smp_unet_resnet34, (2, 3, 64, 32), 1),
}


def load(module: Any, spec: UNetSpec, state: Mapping[str, np.ndarray]) -> None:
    """Load a state dict that holds all but the ignored keys, which stay."""
    import torch

    missing, unexpected = module.load_state_dict({key: torch.tensor(state[key]) for key in state}, strict=False)
    assert not unexpected, f"not in the original: {unexpected}"
    assert all(is_ignored(spec, key) for key in missing), f"left out: {missing}"


def arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """As NumPy; parameters that got no gradient are left out."""
    return {key: tensor.detach().numpy().copy() for key, tensor in tensors.items() if tensor is not None}


def outputs(result: Any) -> list[Any]:
    """The logits first, then those of deep supervision."""
    return list(result) if isinstance(result, list | tuple) else [result]


def activations(module: Any, spec: UNetSpec, images: np.ndarray) -> dict[str, np.ndarray]:
    """In evaluation mode, the output of every layer that holds a tensor, by canonical layer name."""
    import torch

    found: dict[str, np.ndarray] = {}

    def keep(layer: str) -> Callable[..., None]:
        # A copy, as the activation after it may write over it.
        return lambda _module, _inputs, output: found.__setitem__(layer, output.detach().numpy().copy())

    places = {name.rpartition(".")[0]: key.rpartition(".")[0] for name, key in original_keys(spec).items()}
    handles = [module.get_submodule(place).register_forward_hook(keep(layer)) for layer, place in places.items()]
    module.eval()
    with torch.no_grad():
        found[spec.logits] = outputs(module(torch.tensor(images)))[0].numpy()
    for handle in handles:
        handle.remove()
    return found


def step(
    module: Any, spec: UNetSpec, images: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Loss, logits, gradients with the state that moved, by the original's keys, and the gradient of the images."""
    import torch

    module.train()
    inputs = torch.tensor(images, requires_grad=True)
    heads = outputs(module(inputs))
    labels_by_head = labels_of_heads(spec, images.shape, labels)
    weighted = zip(spec.loss_weights, heads, labels_by_head, strict=True)
    losses = [weight * torch.nn.functional.cross_entropy(head, torch.tensor(y)) for weight, head, y in weighted]
    loss = torch.stack(losses).sum()
    loss.backward()
    assert inputs.grad is not None
    moved = dict(module.named_buffers(remove_duplicate=False))
    moved |= {key: parameter.grad for key, parameter in module.named_parameters(remove_duplicate=False)}
    return loss.item(), heads[0].detach().numpy(), arrays(moved), inputs.grad.numpy()
