"""Faults in convolutions and in transposed ones."""

from __future__ import annotations

from .fault import FLAX, NUMPY, PYTORCH, Fault
from .planting import output, read, setting, used

CONV, SQUARE = "encoder.1.block.0.conv", "encoder.0.block.1.conv"

FAULTS = [
    Fault("kernel flipped", used(f"{CONV}.weight", lambda w: w[:, :, [2, 1, 0]]), "activations", CONV),
    Fault(
        "kernel's rows and columns swapped",
        used(f"{CONV}.weight", lambda w: w.swapaxes(2, 3)),
        "activations",
        CONV,
    ),
    Fault("kernel's in and out swapped", used(f"{SQUARE}.weight", lambda w: w.swapaxes(0, 1)), "activations", SQUARE),
    Fault(
        "kernel flipped along the depth",
        used("head.weight", lambda w: w[:, :, [2, 1, 0]]),
        "activations",
        "head",
        PYTORCH + FLAX,
        network="3-D, wide head",
    ),
    Fault("bias dropped", used("head.bias", lambda b: 0 * b), "activations", "head"),
    Fault("bias added twice", used(f"{SQUARE}.bias", lambda b: 2 * b), "activations", SQUARE, backends=NUMPY + PYTORCH),
    Fault(
        "padding of 2 instead of 1",
        setting("encoder.0.block.1.conv", padding=(2, 2)),
        "structure",
        "shape of encoder.0.block.1.conv",
        NUMPY + PYTORCH,
        because="a map of another size is seen before its values are",
    ),
    Fault(
        "padding on one side only",
        read(CONV, lambda kit, x: kit.shifted(x)),
        "activations",
        CONV,
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "padding with zeros instead of a reflection",
        setting("encoder.0.block.0.conv", padding_mode="zeros"),
        "activations",
        "encoder.0.block.0.conv",
        network="reflect",
    ),
    Fault(
        "padding that reflects instead of going around",
        setting(CONV, padding_mode="reflect"),
        "activations",
        CONV,
        NUMPY + PYTORCH,
        network="circular on a larger map",
    ),
    Fault(
        "padding with zeros instead of the edge",
        setting("encoder.0.block.0.conv", padding_mode="zeros"),
        "activations",
        "encoder.0.block.0.conv",
        FLAX + NUMPY,
        network="replicate",
    ),
    Fault(
        "dilation dropped",
        setting(CONV, dilation=(1, 1), padding=(1, 1)),
        "activations",
        CONV,
        network="dilation",
    ),
    Fault(
        "dilation of the last axis dropped in 3-D",
        setting("encoder.0.block.0.conv", dilation=(1, 1, 1), padding=(0, 1, 1)),
        "activations",
        "encoder.0.block.0.conv",
        NUMPY + PYTORCH,
        network="3-D, kernel, dilation and padding by axis",
    ),
    Fault(
        "stride of 2 in the head",
        setting("head", stride=(2, 2)),
        "structure",
        "shape of head",
        PYTORCH + FLAX,
        because="a map of another size is seen before its values are",
    ),
    Fault(
        "strided convolution that starts a row early",
        read("encoder.1.down", lambda kit, x: kit.shifted(x)),
        "activations",
        "encoder.1.down",
        NUMPY + PYTORCH,
        network="strided convolution",
    ),
    Fault(
        "transposed convolution that does not flip its kernel",
        used("decoder.0.up.weight", lambda w: w[:, :, [1, 0]]),
        "activations",
        "decoder.0.up",
    ),
    Fault(
        "transposed convolution with in and out swapped",
        used("decoder.0.up.weight", lambda w: w.swapaxes(0, 1)),
        "activations",
        "decoder.0.up",
        NUMPY + PYTORCH,
        network="square up",
    ),
    Fault(
        "transposed convolution without its bias",
        used("decoder.0.up.bias", lambda b: 0 * b),
        "activations",
        "decoder.0.up",
        PYTORCH + FLAX,
    ),
    Fault(
        "output padding before instead of after",
        output("decoder.0.up", lambda kit, y: kit.shifted(y)),
        "activations",
        "decoder.0.up",
        network="output padding",
        backends=NUMPY + PYTORCH,
    ),
    Fault(
        "output padding forgotten",
        setting("decoder.0.up", output_padding=(0, 0), kernel=(3, 3), padding=(1, 1)),
        "structure",
        "shape of decoder.0.up",
        NUMPY + PYTORCH,
        network="output padding, cropped",
        because="a map of another size is seen before its values are",
    ),
    Fault(
        "padding of a transposed convolution off by one",
        output("decoder.0.up", lambda kit, y: kit.shifted(y)),
        "activations",
        "decoder.0.up",
        PYTORCH,
        network="overlapping up",
    ),
]
