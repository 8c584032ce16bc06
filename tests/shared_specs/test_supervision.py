"""What each head of a network is trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shared_specs import UNetSpec, load_spec
from shared_specs.supervision import labels_of_heads, nearest


def test_labels_are_those_of_the_nearest_pixel() -> None:
    labels = np.arange(24).reshape(1, 4, 6)
    assert np.array_equal(nearest(labels, (2, 3)), labels[:, ::2, ::2])
    assert np.array_equal(nearest(labels, (2, 4)), labels[:, ::2, [0, 1, 3, 4]])
    assert np.array_equal(nearest(labels, (4, 6)), labels)
    assert nearest(np.arange(3).reshape(1, 3, 1), (6, 1)).ravel().tolist() == [0, 0, 1, 1, 2, 2]


def test_each_head_has_labels_of_its_own_size_the_final_one_those_given(changed_spec: Callable[..., UNetSpec]) -> None:
    deep = {"levels": [1, 2], "weights": [1.0, 0.5, 0.25]}
    spec = changed_spec({"widths": [4, 8, 8, 8], "deep_supervision": deep})
    labels = np.arange(2 * 16 * 24).reshape(2, 16, 24)
    final, *deeper = labels_of_heads(spec, (2, 3, 16, 24), labels)
    assert final is labels
    assert [other.shape for other in deeper] == [(2, 8, 12), (2, 4, 6)]
    assert np.array_equal(deeper[1], labels[:, ::4, ::4])


def test_a_network_with_one_head_has_its_labels() -> None:
    labels = np.zeros((1, 16, 16), int)
    (alone,) = labels_of_heads(load_spec("unet_same").narrow(16), (1, 1, 16, 16), labels)
    assert alone is labels
