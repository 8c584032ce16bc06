"""Modules that cannot be compared: one line says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity import compare_modules
from shared_specs import TandemError

from .pairs import pair

pytestmark = pytest.mark.needs_backends("pytorch", "flax_nnx")


def test_a_port_takes_no_weights() -> None:
    import parity

    module, flax = pair()
    weights = parity.adopt(module, backends=[]).weights
    with pytest.raises(TandemError, match="have names of their own, and it cannot take weights; load them first"):
        compare_modules(module, flax, weights=weights)


def residual() -> Any:
    from tests.own_networks import Residual

    return Residual()


def fixed_dtype() -> Any:
    from tests.parity import ports

    class Fixed(ports.FlaxUNet):
        def __call__(self, x: Any) -> Any:
            return super().__call__(x).astype("float32")

    return Fixed()


def fails() -> Any:
    from tests.parity import ports

    class Fails(ports.FlaxUNet):
        def __call__(self, x: Any) -> Any:
            raise ValueError("not today")

    return Fails()


REFUSED: dict[str, tuple[Callable[[], tuple[Any, Any]], dict[str, Any], str]] = {
    "no_module": (lambda: (pair()[0], 3), {}, "the candidate is a 'int', expected a torch.nn.Module, a flax.nnx.Modul"),
    "two_ports": (
        lambda: (pair()[1], pair()[1]),
        {"spec": "unet_bn_same"},
        "its tensors have names of their own, and candidate FlaxUNet (flax_nnx) does not tell which they are",
    ),
    "no_spec": (lambda: (pair()[1], pair()[1]), {}, "nothing says which network the two are; say it with spec="),
    "not_inferred": (
        lambda: (residual(), pair()[1]),
        {},
        "Residual (pytorch): no spec can be inferred (add at the top within encoder level 0: a residual",
    ),
    "bfloat16": (pair, {"precision": "bfloat16"}, "modules are compared in float64 or float32, not in bfloat16"),
    "labels": (pair, {"labels": np.zeros((1, 8, 8), int)}, "labels without images"),
    "weights": (pair, {"weights": {}}, "weights: not weights of adopted: missing decoder.0.block.0.conv.bias"),
    "fixed_dtype": (
        lambda: (pair()[0], fixed_dtype()),
        {},
        "Fixed returns float32 where its tensors and images are flo",
    ),
    "fails": (lambda: (pair()[0], fails()), {}, "Fails fails on images 2x4x6x1, channels last (ValueError: not today)"),
    "probe": (pair, {"probes": ["backward"]}, "no probe is named 'backward'"),
    "small_images": (pair, {"images": (2, 1, 7, 7)}, "7"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_line(case: str) -> None:
    make, options, words = REFUSED[case]
    with pytest.raises(TandemError) as raised:
        compare_modules(*make(), **options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_where_no_spec_has_a_word_none_is_asked_for() -> None:
    from tests.parity import ports

    class WithSoftmax(ports.TorchUNet):
        def forward(self, x: Any) -> Any:
            return super().forward(x).softmax(1)

    with pytest.raises(TandemError, match=r"no spec can be inferred \(.*; return the logits, .* the module\)$"):
        compare_modules(WithSoftmax(), WithSoftmax())


def test_a_hook_on_a_gradient_is_refused_as_no_copy_has_it() -> None:
    from tests.parity import ports

    module, candidate = ports.trained(), ports.trained()
    candidate.bottom[0].weight.register_hook(lambda gradient: 1.01 * gradient)
    with pytest.raises(TandemError, match=r"hooks on the gradients of bottom\.0\.weight, which a copy has not"):
        compare_modules(module, candidate, probes=["gradients"])
