"""A network drawn as text: every level with its shapes, in 80 columns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.shapes import Shape, feature_shapes, size_label
from tandem.canvas import Canvas
from tandem.commands.show import usual_size
from tandem.drawing import draw

from ..strategies import specs

PAPER = """\
   images 1x572x572                                             logits 2x388x388
   │                                                                      conv ▲
0  64x568x568 ──────────── crop to 392x392, concatenate ────────────▶ 64x388x388
       │ max_pool 2                                      transposed_conv 2 ▲
1      128x280x280 ─────── crop to 200x200, concatenate ───────▶ 128x196x196
           │ max_pool 2                              transposed_conv 2 ▲
2          256x136x136 ─── crop to 104x104, concatenate ───▶ 256x100x100
               │ max_pool 2                      transposed_conv 2 ▲
3              512x64x64 ── crop to 56x56, concatenate ──▶ 512x52x52
                   │ max_pool 2              transposed_conv 2 ▲
4                  └──────────────▶ 1024x28x28 ────────────────┘

Convolutions in a block: encoder 2; decoder 2."""

NESTED = """\
            images 1x224x224                                   logits 2x224x224
            │                                                          conv ▲
0  224x224  32 ───────────▶ 32 ───────────▶ 32 ───────────▶ 32 ───────────▶ 32
                 ↘       ↗               ↗               ↗               ↗
1  112x112          32 ───────────▶ 32 ───────────▶ 32 ───────────▶ 32
                         ↘       ↗               ↗               ↗
2  56x56                    64 ───────────▶ 64 ───────────▶ 64
                                 ↘       ↗               ↗
3  28x28                            128 ──────────▶ 128
                                         ↘       ↗
4  14x14                                    256

↘ max_pool 2   ↗ transposed_conv 2   → concatenate"""


def drawn(name: str, width: int = 80) -> list[str]:
    spec = load_spec(name)
    return draw(spec, (1, spec.in_channels, *usual_size(spec)), width)


@pytest.mark.parametrize(
    ("name", "expected"), [("unet_paper", PAPER), ("monai_basic_unet_plus_plus", NESTED)], ids=["u", "nested"]
)
def test_the_drawing_is_this(name: str, expected: str) -> None:
    assert drawn(name)[: expected.count("\n") + 1] == expected.splitlines()


@pytest.mark.parametrize("name", spec_names())
def test_the_zoo_fits_into_80_columns(name: str) -> None:
    spec = load_spec(name)
    lines = drawn(name)
    assert max(len(line) for line in lines if not line.startswith(("Conv", "Numbers", "*"))) <= 80
    assert [line[0] for line in lines if line[:1].isdigit()] == list(map(str, range(spec.levels)))


def test_heads_of_deep_supervision_are_marked_and_named() -> None:
    lines = drawn("nnunet_plain_3d")
    assert [line[0] for line in lines if line.endswith("*")] == ["1", "2", "3", "4"]
    assert lines[-1].startswith("* has a head of deep supervision, for training alone: deep_head.0 2x64x64x64, ")


def test_attention_padding_and_levels_without_a_skip_are_shown() -> None:
    assert any("── attention, concatenate ──" in line for line in drawn("monai_attention_unet"))
    assert any("── pad to 568x568, concatenate ──" in line for line in drawn("unet_bn_pad"))
    (level,) = [line for line in drawn("smp_unet_resnet34") if line.startswith("0")]
    assert "─" not in level


def test_blocks_of_unequal_length_are_counted_by_level() -> None:
    counted = drawn("nnunet_residual_encoder_3d")[-2]
    assert counted == "Convolutions in a block: encoder 3, 6, 8, 12, 12, 12 from level 0 down; decoder 1."


def test_a_narrow_terminal_gets_a_narrow_drawing() -> None:
    wide, narrow = drawn("unet_same"), drawn("unet_same", 56)
    assert max(map(len, narrow)) <= 56 < max(map(len, wide))
    assert [word for line in narrow for word in line.split() if "x" in word] == [
        word for line in wide for word in line.split() if "x" in word
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(specs(most_levels=4))
def test_random_networks_are_drawn_with_every_level(drawn: tuple[UNetSpec, Shape]) -> None:
    spec, images = drawn
    lines = draw(spec, images)
    text = "\n".join(lines)
    assert f"images {size_label(images[1:])}" in text
    assert f"logits {size_label(feature_shapes(spec, images)[spec.logits][1:])}" in text
    levels = [line for line in lines if line[:1].isdigit()]
    assert len(levels) == (spec.levels if spec.levels > 1 else 0)


def test_a_canvas_cuts_off_what_does_not_fit() -> None:
    canvas = Canvas(5)
    canvas.write(0, 3, "abc")
    canvas.write_left_of(1, 2, "xyz")
    assert canvas.lines() == ["   ab", "yz"]


def test_an_arrow_takes_the_first_words_that_fit() -> None:
    canvas = Canvas(14)
    canvas.arrow(0, 0, 14, ["much too long", "sum", ""])
    canvas.arrow(1, 0, 4, ["sum", ""])
    assert canvas.lines() == ["──── sum ────▶", "───▶"]
