"""Well-known public U-Nets as they ship, to be timed beside ours on the same images.

A peer takes the spec's channels, classes and widths, as far as its constructor lets it. All else, its norm, its
activation and its initial weights, is its own. So it is another network: no gate can pass it, and its times say what
a user of that package gets, not how fast a framework runs our network.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from backends.contract import BackendError, Execution, check_phase
from shared_specs import Recipe, UNetSpec
from shared_specs.errors import one_line
from shared_specs.shapes import output_shape
from shared_specs.weights import Weights

from .eager_pytorch import EagerBackend, EagerModel


class Peer(EagerBackend):
    """A U-Net of a public package.

    Attributes:
        distribution: the package's name on PyPI.
        module: where the network's class is.
        title: what the package calls the network.
    """

    distribution: str
    module: str
    title: str

    @abstractmethod
    def network(self, spec: UNetSpec) -> nn.Module:
        """The package's network with the spec's channels, classes and widths.

        Raises:
            BackendError: where the package has no network that does the spec's work.
        """

    def build(self, spec: UNetSpec, execution: Execution = Execution(), recipe: Recipe = Recipe()) -> PeerModel:
        self.check_execution(execution)
        return PeerModel(self, spec, execution, recipe)

    def versions(self) -> dict[str, str]:
        importlib.import_module(self.module)  # here, so that a worker counts it as import and not as build
        return super().versions() | {self.distribution: version(self.distribution)}


class MonaiBasicUNet(Peer):
    """MONAI's `BasicUNet`: instance norm, leaky ReLU, and twice our width in its last up-sampling."""

    name = "peer_monai_basic_unet"
    distribution = "monai"
    module = "monai.networks.nets"
    title = "BasicUNet"

    def network(self, spec: UNetSpec) -> nn.Module:
        kernel = spec.conv.kernel
        if (spec.levels, spec.block.convolutions, kernel) != (5, 2, 3):
            raise BackendError(
                f"{self.name} has five levels of two 3x3 convolutions; "
                f"{spec.name} has {spec.levels} of {spec.block.convolutions}, {kernel}x{kernel}"
            )
        return importlib.import_module(self.module).BasicUNet(
            spatial_dims=2,
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            features=(*spec.widths, spec.widths[0]),  # the sixth is the width of the last decoder level
        )


class PlainConvUNet(Peer):
    """The `PlainConvUNet` of nnU-Net: instance norm, leaky ReLU, strided convolutions where we have max-pooling."""

    name = "peer_plain_conv_unet"
    distribution = "dynamic-network-architectures"
    module = "dynamic_network_architectures.architectures.unet"
    title = "PlainConvUNet as nnU-Net configures it"

    def network(self, spec: UNetSpec) -> nn.Module:
        return importlib.import_module(self.module).PlainConvUNet(
            input_channels=spec.in_channels,
            n_stages=spec.levels,
            features_per_stage=spec.widths,
            conv_op=nn.Conv2d,
            kernel_sizes=spec.conv.kernel,
            strides=(1,) + (2,) * (spec.levels - 1),
            n_conv_per_stage=spec.block.convolutions,
            num_classes=spec.out_channels,
            n_conv_per_stage_decoder=spec.block.convolutions,
            # The constructor's defaults are no norm and no activation, which nobody trains. These are nnU-Net's
            # (nnunetv2/experiment_planning/experiment_planners/default_experiment_planner.py), for which it is known.
            conv_bias=True,
            norm_op=nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
        )


class PeerModel(EagerModel):
    """What a worker asks for: a program for each phase, on weights of the peer's own. The rest only our networks do."""

    has_canonical_weights = False

    def __init__(self, peer: Peer, spec: UNetSpec, execution: Execution, recipe: Recipe):
        self.peer = peer
        torch.manual_seed(0)
        only_timed = f"{peer.name} is another network and there to be timed; check `pytorch` for parity"
        super().__init__(peer.network(spec), spec, execution, recipe, peer.name, only_timed)

    def describe(self) -> str:
        """What was timed, in one line that says that it is not the spec's network."""
        peer = self.peer
        named = f"{peer.distribution} {version(peer.distribution)} {peer.title}"
        return f"{named}, {self.parameter_count():,} parameters, another network: its weights and norm are its own"

    def load_weights(self, weights: Weights) -> None:
        """Forget the optimizer's state. The canonical weights fit another network, and none is taken."""
        self.reset_optimizer()

    def program(self, phase: str, images: np.ndarray, labels: np.ndarray | None = None) -> Callable[[], dict[str, Any]]:
        check_phase(phase)
        self._check_size(images)
        return super().program(phase, images, labels)

    def _check_size(self, images: np.ndarray) -> None:
        """Refuse images for which the peer gives no logits of the spec's size. Computes nothing."""
        name, wanted = self.peer.name, output_shape(self.spec, images.shape)
        size, left = "x".join(map(str, images.shape[2:])), "x".join(map(str, wanted[2:]))
        if size != left:
            raise BackendError(
                f"{name} keeps the size of its input; time it beside a padded network such as unet_same, "
                f"not {self.spec.name}, which makes {left} of {size}"
            )
        try:
            with torch.device("meta"), torch.no_grad():
                given = tuple(self.peer.network(self.spec)(torch.empty(images.shape)).shape)
        except (RuntimeError, ValueError) as error:
            reason = one_line(str(error))
            raise BackendError(f"{name} cannot take images of {size}: {reason}") from error
        if given != wanted:
            raise BackendError(f"{name} gives logits of shape {given}, and {self.spec.name} {wanted}")
