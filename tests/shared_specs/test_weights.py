"""Weights: nothing degenerate at the start, every bit back from a file, and strict refusals."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from shared_specs import TandemError, UNetSpec, WeightsError, initial_weights, load_spec, load_weights, save_weights
from shared_specs.weights import CONVERT

Weights = dict[str, np.ndarray]
BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@pytest.fixture(scope="module")
def small() -> UNetSpec:
    return load_spec("unet_bn_same").narrow(32)


@pytest.fixture
def weights(small: UNetSpec) -> Weights:
    return initial_weights(small, seed=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def assert_same_bits(loaded: Weights, saved: Weights) -> None:
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        bits = BITS[tensor.dtype.itemsize]
        np.testing.assert_array_equal(
            np.ascontiguousarray(loaded[name]).view(bits), np.ascontiguousarray(tensor).view(bits), err_msg=name
        )


class TestInitialWeights:
    def test_are_the_specs_tensors_in_order(self, spec: UNetSpec) -> None:
        weights = initial_weights(spec)
        assert [(name, tensor.shape) for name, tensor in weights.items()] == [(t.name, t.shape) for t in spec.tensors]

    def test_nothing_is_degenerate(self, spec: UNetSpec) -> None:
        for name, tensor in initial_weights(spec).items():
            assert len(np.unique(tensor)) == tensor.size, name
            assert not np.isin(tensor, (0.0, 1.0)).any(), name
            if name.endswith("running_var"):
                assert tensor.min() >= 0.5, name

    def test_follow_the_seed(self, small: UNetSpec) -> None:
        first, again, other = (initial_weights(small, seed) for seed in (3, 3, 4))
        assert_same_bits(again, first)
        assert not [name for name in first if (first[name] == other[name]).any()]

    def test_no_two_tensors_are_alike(self, small: UNetSpec) -> None:
        scaled = [np.round(np.sort(tensor.ravel() / tensor.std()), 6) for tensor in initial_weights(small).values()]
        assert len({values.tobytes() for values in scaled}) == len(small.tensors)

    def test_do_not_depend_on_the_other_layers(self, changed_spec: Callable[..., UNetSpec]) -> None:
        short, long = (
            initial_weights(changed_spec({"widths": [4, 8], "block.convolutions": n}, "unet_same")) for n in (1, 3)
        )
        shared = [name for name in short if "block.0" in name]
        assert len(shared) == 6
        assert_same_bits({name: long[name] for name in shared}, {name: short[name] for name in shared})

    @pytest.mark.parametrize(
        ("name", "deviation"),
        [
            ("encoder.3.block.1.conv.weight", np.sqrt(2 / (9 * 128))),  # He et al. 2015, fan-in of 128 channels of 3x3
            ("decoder.3.up.weight", np.sqrt(1 / 256)),  # each output pixel of a 2x2 stride-2 stamp sees one input pixel
            ("encoder.3.block.1.conv.bias", 0.1),
        ],
    )
    def test_deviation(self, name: str, deviation: float) -> None:
        tensor = initial_weights(load_spec("unet_same").narrow(4))[name]
        assert tensor.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * tensor.size))

    def test_those_of_a_seed_stay_what_they_are(self, changed_spec: Callable[..., UNetSpec]) -> None:
        """Records name the seed alone: each tensor's generator is seeded with it and with the tensor's name."""
        prelu = {"kind": "prelu", "slopes": "per_channel"}
        spec = changed_spec({"widths": [4, 6], "block.convolutions": 1, "activation": prelu})
        drawn: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
            "conv.weight": lambda random, shape: random.normal(0, np.sqrt(2 / (shape[1] * 9)), shape),
            "up.weight": lambda random, shape: random.normal(0, np.sqrt(1 / shape[0]), shape),
            "head.weight": lambda random, shape: random.normal(0, np.sqrt(1 / shape[1]), shape),
            "activation.weight": lambda random, shape: random.uniform(0.1, 0.4, shape),
        }
        drawn |= {
            f"norm.{leaf}": lambda random, shape: random.uniform(0.5, 1.5, shape) for leaf in ("weight", "running_var")
        }
        small = ("conv.bias", "up.bias", "head.bias", "norm.bias", "norm.running_mean")
        drawn |= dict.fromkeys(small, lambda random, shape: random.normal(0, 0.1, shape))
        assert drawn.keys() == {tensor.leaf for tensor in spec.tensors}
        weights = initial_weights(spec, 11)
        for tensor in spec.tensors:
            random = np.random.default_rng([11, zlib.crc32(tensor.name.encode())])
            np.testing.assert_allclose(weights[tensor.name], drawn[tensor.leaf](random, tensor.shape), rtol=1e-15)
        assert all(
            np.array_equal(values, initial_weights(spec, 0)[name]) for name, values in initial_weights(spec).items()
        )

    def test_dtype(self, small: UNetSpec) -> None:
        assert {tensor.dtype for tensor in initial_weights(small, dtype=np.float32).values()} == {np.dtype(np.float32)}


class TestRoundTrip:
    @given(data=st.data())
    def test_every_bit(self, data: st.DataObject, small: UNetSpec, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.getbasetemp() / "bits.safetensors"
        dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
        seed = data.draw(st.integers(0, 2**32))
        random = np.random.default_rng(seed)
        saved = {}
        for tensor in small.tensors:
            # Any bits at all that are a finite number: subnormals and -0.0 too.
            bits = random.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), tensor.shape, np.uint64, endpoint=False)
            values = bits.astype(BITS[np.dtype(dtype).itemsize]).view(dtype)
            values[~np.isfinite(values)] = -0.0
            saved[tensor.name] = np.abs(values) if tensor.name.endswith("running_var") else values
        save_weights(path, saved, small)
        assert_same_bits(load_weights(path, small), saved)

    @pytest.mark.parametrize(
        "view",
        [
            lambda a: np.ascontiguousarray(a.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1),
            np.asfortranarray,
            lambda a: np.repeat(a, 2, axis=0)[::2],
            lambda a: a[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
            lambda a: a.astype(">f8"),
        ],
        ids=["transposed", "fortran", "strided", "flipped", "big_endian"],
    )
    def test_views_keep_their_values(self, view: Callable, small: UNetSpec, weights: Weights, path: Path) -> None:
        """A safetensors file is written from the memory of a view and the view's shape: it must be copied first."""
        viewed = {name: view(tensor) if tensor.ndim == 4 else tensor for name, tensor in weights.items()}
        name = "encoder.2.block.0.conv.weight"
        assert viewed[name].tobytes("A") != weights[name].tobytes() or not viewed[name].flags.c_contiguous
        save_weights(path, viewed, small)
        assert_same_bits(load_weights(path, small), weights)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
    def test_a_file_has_the_precision_that_the_weights_had_and_says_what_they_are_of(
        self, dtype: type[np.floating], small: UNetSpec, path: Path
    ) -> None:
        saved = initial_weights(small, dtype=dtype)
        save_weights(path, saved, small)
        assert_same_bits(load_weights(path, small), saved)
        with safe_open(path, framework="numpy") as file:
            said = file.metadata()
        assert said == {
            "format": "tandem",
            "spec": small.model_dump_json(),
            "spec_fingerprint": small.fingerprint,
        }

    def test_a_variance_may_be_zero(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        weights["encoder.0.block.0.norm.running_var"][0] = 0.0
        save_weights(path, weights, small)
        assert_same_bits(load_weights(path, small), weights)

    def test_a_file_without_a_spec_is_taken_if_it_fits(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_file(weights, path)
        assert_same_bits(load_weights(path, small), weights)


class TestRefusals:
    def test_all_problems_at_once(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        del weights["head.bias"]
        weights["head.colour"] = np.zeros(3)
        weights["head.weight"] = weights["head.weight"].T
        weights["decoder.0.up.bias"][1] = np.nan
        weights["decoder.1.up.weight"][0, 1, 1, 0] = -np.inf
        weights["encoder.0.block.0.norm.running_var"][0] = -1e-9
        weights["encoder.0.block.0.conv.bias"] = np.zeros(2, np.int64)
        weights["encoder.0.block.1.conv.bias"] = np.zeros(2, np.complex64)
        weights["encoder.1.block.1.conv.bias"] = np.zeros(4, np.longdouble)
        with pytest.raises(WeightsError) as error:
            save_weights(path, weights, small)
        message = str(error.value)
        assert message.startswith("weights: not weights of unet_bn_same: ")
        assert message.split(": ", 2)[2].split("; ") == [
            "decoder.0.up.bias has nan at (1,), expected finite values",
            "decoder.1.up.weight has -inf at (0, 1, 1, 0), expected finite values",
            "encoder.0.block.0.conv.bias has dtype int64, expected one of float64, float32, float16",
            "encoder.0.block.0.norm.running_var has a negative variance",
            "encoder.0.block.1.conv.bias has dtype complex64, expected one of float64, float32, float16",
            f"encoder.1.block.1.conv.bias has dtype {np.dtype(np.longdouble)}, expected one of "
            "float64, float32, float16",
            "head.weight is (1, 1, 2, 10), expected (10, 2, 1, 1)",
            "missing head.bias (10,)",
            "unexpected head.colour",
        ]
        assert not path.exists()

    def test_a_bad_file_is_refused_as_weights_are(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        weights["head.bias"][2] = np.inf
        del weights["head.weight"]
        save_file(weights, path)
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == (
            f"{path}: not weights of unet_bn_same: head.bias has inf at (2,), expected finite values; "
            "missing head.weight (10, 2, 1, 1)"
        )

    @pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 0.001, 0.01, 0.1, 0.5, 0.999, -8, -1])
    def test_truncated_file(self, keep: float, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_weights(path, weights, small)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
        with pytest.raises(WeightsError, match=r"is no whole safetensors file \(.*\); save it again"):
            load_weights(path, small)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda whole: whole + b"\0",
            lambda whole: b"\xff" * 8 + whole[8:],
            lambda whole: whole[:8] + whole[8:].replace(b'"F64"', b'"F99"', 1),
            lambda whole: whole[:8] + b"[" + whole[9:],
            lambda whole: b"",
        ],
        ids=["longer", "endless_header", "dtype", "no_json", "empty"],
    )
    def test_garbage(self, spoil: Callable, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_weights(path, weights, small)
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(WeightsError, match="is no whole safetensors file"):
            load_weights(path, small)

    @given(content=st.binary(max_size=64))
    def test_random_bytes(self, content: bytes, small: UNetSpec, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.getbasetemp() / "garbage.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"garbage\.safetensors: "):
            load_weights(path, small)

    def test_another_spec(self, small: UNetSpec, path: Path) -> None:
        other = load_spec("unet_same").narrow(16)
        save_weights(path, initial_weights(other), other)
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == (
            f"{path}: holds weights of another spec (unet_same of widths [4, 8, 16, 32, 64]), expected "
            "unet_bn_same of widths [2, 4, 8, 16, 32]; name the spec that they were saved with"
        )

    def test_another_width(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_weights(path, weights, small)
        with pytest.raises(WeightsError, match=r"widths \[64, 128, 256, 512, 1024\]; give --narrow 32$"):
            load_weights(path, load_spec("unet_bn_same"))

    @pytest.mark.parametrize(
        ("wide", "narrow", "advice"),
        [
            (4, 2, "give --narrow 2"),
            (64, 1, "give --narrow 64"),
            (65, 1, "name the spec that they were saved with"),  # which is further than is looked for
        ],
    )
    def test_widths_divided_by_a_number(
        self, wide: int, narrow: int, advice: str, changed_spec: Callable[..., UNetSpec], path: Path
    ) -> None:
        spec = changed_spec({"widths": [wide]})
        saved = spec.narrow(wide // narrow)
        save_weights(path, initial_weights(saved), saved)
        with pytest.raises(WeightsError) as error:
            load_weights(path, spec)
        assert str(error.value) == (
            f"{path}: holds weights of another spec (unet_bn_same of widths [{narrow}]), "
            f"expected unet_bn_same of widths [{wide}]; {advice}"
        )

    def test_same_tensors_of_another_function(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_weights(path, weights, small)
        with pytest.raises(WeightsError, match="holds weights of another spec"):
            load_weights(path, load_spec("unet_bn_pad").narrow(32))

    @pytest.mark.parametrize(
        ("spec", "named"),
        [
            *((spec, "one that the file does not name") for spec in ("", "7", "[]", "{}", "[" * 100_000)),
            ('{"name": "a\\nb", "widths": 3}', "a b of widths 3"),
        ],
        ids=["empty", "number", "list", "table", "deep", "lines"],
    )
    def test_metadata_that_is_no_spec(
        self, spec: str, named: str, small: UNetSpec, weights: Weights, path: Path
    ) -> None:
        save_file(weights, path, metadata={"spec": spec, "spec_fingerprint": "0"})
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == (
            f"{path}: holds weights of another spec ({named}), "
            "expected unet_bn_same of widths [2, 4, 8, 16, 32]; name the spec that they were saved with"
        )

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            (".", f"Is a directory); expected a safetensors file; {CONVERT}"),
            ("absent", "No such file or directory); expected a safetensors file"),
        ],
        ids=["a_folder", "nothing"],
    )
    def test_unreadable(self, name: str, reason: str, small: UNetSpec, tmp_path: Path) -> None:
        path = tmp_path / name
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == f"{path}: cannot be read ({reason}"

    @pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x80\x05"])
    def test_a_checkpoint_of_a_framework_says_what_to_do(self, start: bytes, small: UNetSpec, path: Path) -> None:
        path.write_bytes(start + bytes(99))
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == f"{path}: is no safetensors file; {CONVERT}"

    @pytest.mark.parametrize("rest", [b"{", b'{"a": ', b'{"a": 1}' + bytes(300)])
    def test_a_length_like_a_pickle_is_one_of_safetensors(self, rest: bytes, small: UNetSpec, path: Path) -> None:
        """JSON of 640 bytes, whose number of bytes a file begins with, and nearly all of which is lost."""
        path.write_bytes((640).to_bytes(8, "little") + rest)
        assert path.read_bytes().startswith(b"\x80\x02")
        with pytest.raises(WeightsError, match="is no whole safetensors file"):
            load_weights(path, small)

    def test_counters_of_batches_say_what_to_do(self, small: UNetSpec, weights: Weights, path: Path) -> None:
        save_file({**weights, "x.norm.num_batches_tracked": np.array(3)}, path)
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == f"{path}: holds x.norm.num_batches_tracked as I64; {CONVERT}"

    @pytest.mark.parametrize(
        ("tensors", "told"),
        [
            ("abc", "holds a as BF16, b as BF16, c as BF16; save it as one of float64, float32, float16"),
            ("aba", "names 'a' twice; save it again"),
            ("abb", "names 'b' twice; save it again"),
        ],
    )
    def test_dtype_that_numpy_has_not_and_names_of_two_tensors(
        self, tensors: str, told: str, small: UNetSpec, path: Path
    ) -> None:
        entry = '"{}":{{"dtype":"BF16","shape":[1],"data_offsets":[{},{}]}}'
        starts = {name: 2 * number for number, name in enumerate(dict.fromkeys(tensors))}
        places = [entry.format(name, starts[name], starts[name] + 2) for name in tensors]
        header = f"{{{','.join(places)}}}".encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * len(starts)))
        with pytest.raises(WeightsError) as error:
            load_weights(path, small)
        assert str(error.value) == f"{path}: {told}"


@pytest.mark.parametrize(
    ("where", "advice"),
    [
        ("absent/weights", "name a path in a writable folder"),
        ("weights/below_a_file", "name a path in a writable folder"),
        (".", "name a file in a writable folder that exists"),
    ],
)
def test_unwritable_path(where: str, advice: str, small: UNetSpec, weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"old")
    with pytest.raises(TandemError, match=rf"cannot be written \(.+\); {advice}$") as error:
        save_weights(tmp_path / where, weights, small)
    assert str(error.value).startswith(str(tmp_path / where))
    assert [file.name for file in tmp_path.iterdir()] == ["weights"]
    assert (tmp_path / "weights").read_bytes() == b"old"
