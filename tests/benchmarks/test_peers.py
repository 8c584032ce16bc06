"""Public U-Nets beside ours: built for the spec's channels and widths, and refused where they cannot do its work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import BackendError
from shared_specs import Recipe, UNetSpec, load_spec

PACKAGES = {"MonaiBasicUNet": "monai", "PlainConvUNet": "dynamic_network_architectures"}


@pytest.fixture(params=PACKAGES)
def peer(request: pytest.FixtureRequest) -> Any:
    """Each peer that is installed here."""
    pytest.importorskip("torch", reason="peers are PyTorch's; see the extra `peers`")
    package = PACKAGES[request.param]
    pytest.importorskip(package, reason=f"{package} is not installed; it comes with the extra `peers`")
    from benchmarks import peers

    return getattr(peers, request.param)()


@pytest.fixture
def narrow() -> UNetSpec:
    return load_spec("unet_same").narrow(16)


def batch(size: int = 32, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.standard_normal((2, channels, size, size)), random.integers(0, 10, (2, size, size))


def test_forward_gives_logits_of_the_specs_shape_and_keeps_the_weights(peer: Any, narrow: UNetSpec) -> None:
    model = peer.build(narrow)
    model.load_weights({})
    step = model.program("forward", *batch())
    first, second = (model.fetch(step())["logits"] for _ in range(2))
    assert first.shape == (2, 10, 32, 32) and first.dtype == np.float32
    assert first.std() > 0
    np.testing.assert_array_equal(first, second)


def test_training_steps_lower_the_loss_and_gradients_alone_do_not(peer: Any, narrow: UNetSpec) -> None:
    losses = {}
    for phase in ("forward_backward", "train_step"):
        model = peer.build(narrow)
        model.load_weights({})
        step = model.program(phase, *batch())
        losses[phase] = [float(model.fetch(step())["loss"]) for _ in range(5)]
    assert losses["train_step"] == sorted(losses["train_step"], reverse=True)
    assert losses["train_step"][-1] < losses["train_step"][0]
    assert losses["forward_backward"] == pytest.approx([losses["train_step"][0]] * 5)  # the same seeded weights


def test_loading_weights_forgets_the_momentum_alone(peer: Any, narrow: UNetSpec) -> None:
    model = peer.build(narrow)
    model.load_weights({})
    model.program("train_step", *batch())()
    trained = [parameter.detach().clone() for parameter in model.module.parameters()]
    assert model.optimizer.state
    model.load_weights({})
    assert not model.optimizer.state
    kept = zip(trained, model.module.parameters(), strict=True)
    assert all(bool((before == after).all()) for before, after in kept)


def test_a_peer_is_about_as_large_as_the_spec_and_says_that_it_is_another(peer: Any, narrow: UNetSpec) -> None:
    model = peer.build(narrow)
    assert model.parameter_count() == pytest.approx(narrow.parameter_count, rel=0.02)
    assert model.parameter_count() != narrow.parameter_count
    assert (10, narrow.widths[0], 1, 1) in {tuple(parameter.shape) for parameter in model.module.parameters()}  # head
    version = peer.versions()[peer.distribution]
    assert model.describe().startswith(f"{peer.distribution} {version} {type(peer).__name__.removeprefix('Monai')}")
    assert f"{model.parameter_count():,} parameters, another network" in model.describe()
    assert model.effective_precision() == "float32"


def test_a_network_without_padding_is_refused_in_one_line(peer: Any) -> None:
    spec = load_spec("unet_paper").narrow(16)
    model = peer.build(spec)
    model.load_weights({})
    with pytest.raises(BackendError, match=r"keeps the size of its input.*unet_same.*4x4 of 188x188$") as refused:
        model.program("forward", *batch(188, spec.in_channels))
    assert "\n" not in str(refused.value)


def test_an_impossible_size_is_refused_in_one_line(peer: Any, narrow: UNetSpec) -> None:
    model = peer.build(narrow)
    model.load_weights({})
    with pytest.raises(BackendError, match=rf"^{peer.name} cannot take images of 16x16: ") as refused:
        model.program("forward", *batch(16))  # ours takes it; instance norm sees one value a channel at the bottom
    assert "\n" not in str(refused.value)


def test_what_a_peer_cannot_do_is_refused(peer: Any, narrow: UNetSpec) -> None:
    with pytest.raises(BackendError, match="SGD and momentum alone"):
        peer.build(narrow, recipe=Recipe.named("adam")).load_weights({})
    with pytest.raises(BackendError, match="another network"):
        peer.build(narrow).read_tensor("head.weight")


def test_monai_has_five_levels() -> None:
    pytest.importorskip("monai", reason="monai is not installed; it comes with the extra `peers`")
    from benchmarks.peers import MonaiBasicUNet

    four = load_spec("unet_same").model_copy(update={"widths": (4, 8, 16, 32)})
    with pytest.raises(BackendError, match="five levels of two 3x3 convolutions; unet_same has 4 of 2, 3x3"):
        MonaiBasicUNet().build(four)
