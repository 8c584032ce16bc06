"""`tandem list`: which networks are listed, and in which order."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

import backends
from backends import Capabilities
from shared_specs import load_spec, spec_names
from tandem import console
from tandem.commands.zoo import parameter_count, short_source

from .conftest import Run


def listed(run: Run, *arguments: str) -> list[str]:
    return [spec["name"] for spec in json.loads(run("list", *arguments, "--json", "-").stdout)["specs"]]


def test_list_shows_the_zoo(run: Run) -> None:
    result = run("list")
    assert result.exit_code == 0
    for name in spec_names():
        (row,) = [line for line in result.stdout.splitlines() if line.startswith(f" {name} ")]
        assert f"{load_spec(name).parameter_count:,}" in row
        assert short_source(load_spec(name)) in row and short_source(load_spec(name)) in load_spec(name).source
    assert "tandem list --sources" in result.stdout
    assert len(result.stdout.splitlines()) < len(spec_names()) + 11 + len(backends.names())
    assert max(map(len, result.stdout.splitlines())) <= console.WIDTH_OF_A_FILE


def test_list_says_where_each_network_comes_from(run: Run) -> None:
    text = " ".join(run("list", "--sources").stdout.split())
    for spec in map(load_spec, spec_names()):
        for said in (f"{spec.name}: {spec.title}", spec.source, spec.licence, spec.citation):
            assert " ".join(said.split()) in text


def test_list_shows_what_each_backend_can_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    can = {
        "does_all": Capabilities(replicas=True),
        "infers": Capabilities(("float32",), ("default",), ("forward",), ("cpu",), note="inference only"),
    }
    monkeypatch.setattr(backends, "available", lambda: list(can))
    monkeypatch.setattr(backends, "capabilities", lambda name: can.get(name, Capabilities()))
    text = run("list").stdout
    rows = [line.split() for line in text.partition("Backends here")[2].splitlines()]
    assert ["does_all", "all", "all", "all", "yes"] in rows
    assert ["infers", "forward", "float32", "cpu", "no", "inference", "only"] in rows
    assert "every network" not in text


def test_a_plugin_that_cannot_say_what_it_can_do_is_not_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is no end of the list."""
    names, missing, capabilities = backends.names, backends.missing, backends.capabilities
    reason = "backend broken cannot be loaded (RuntimeError: no driver); install it again"

    def ask(name: str) -> Capabilities:
        if name == "broken":
            raise backends.BackendError(reason)
        return capabilities(name)

    monkeypatch.setattr(backends, "names", lambda: [*names(), "broken"])
    monkeypatch.setattr(backends, "missing", lambda name: reason if name == "broken" else missing(name))
    monkeypatch.setattr(backends, "capabilities", ask)
    assert f"Not here: {reason}" in run("list").stdout
    broken = json.loads(run("list", "--json", "-").stdout)["backends"]["broken"]
    assert (broken["available"], broken["missing"], broken["phases"]) == (False, reason, [])


def test_list_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.registry import REQUIREMENTS

    monkeypatch.setitem(REQUIREMENTS, "flax_nnx", (("a_module_that_is_not_here",), "flax"))
    result = run("list", "--json", "-")
    here = json.loads(result.stdout)["backends"]
    assert (here["numpy_reference"]["available"], here["numpy_reference"]["missing"]) == (True, None)
    assert "pip install 'tandem[flax]'" in here["flax_nnx"]["missing"]
    assert "Not here: backend flax_nnx needs a_module_that_is_not_here" in run("list").stdout


def test_words_are_looked_for_in_name_title_and_source(run: Run) -> None:
    assert listed(run, "MONAI") == [name for name in spec_names() if name.startswith("monai_")]
    assert listed(run, "1606.06650") == ["unet3d_cicek"]  # in its source alone
    assert listed(run, "attention") == ["monai_attention_unet"]
    assert listed(run, "monai", "attention") == ["monai_attention_unet"]


def test_dimensions(run: Run) -> None:
    three = [name for name in spec_names() if load_spec(name).dimensions == 3]
    assert listed(run, "--dimensions", "3") == three
    assert listed(run, "--dimensions", "2") == [name for name in spec_names() if name not in three]


def test_a_norm_counts_that_only_an_override_has(run: Run) -> None:
    assert load_spec("monai_attention_unet").norm.kind == "batch"
    instance = listed(run, "--norm", "instance")
    assert "monai_attention_unet" in instance and "nnunet_plain_2d" in instance and "unet_bn_same" not in instance
    assert listed(run, "--norm", "none", "unet_paper") == ["unet_paper"]


def test_parameters(run: Run) -> None:
    counts = {name: load_spec(name).parameter_count for name in spec_names()}
    assert listed(run, "--max-parameters", "10M") == [name for name, count in counts.items() if count <= 10e6]
    assert listed(run, "--min-parameters", "100M") == [name for name, count in counts.items() if count >= 100e6]


@pytest.mark.parametrize(("key", "value"), [("parameters", "parameters"), ("flops", "forward_flops"), ("name", "name")])
def test_sorting(run: Run, key: str, value: str) -> None:
    specs = json.loads(run("list", "--sort", key, "--json", "-").stdout)["specs"]
    assert len(specs) == len(spec_names())
    assert specs == sorted(specs, key=lambda spec: spec[value])


def test_how_many_of_the_zoo_are_listed_is_said(run: Run) -> None:
    assert f"2 of the {len(spec_names())} networks of the zoo." in run("list", "monai", "--dimensions", "3").stdout
    assert "networks of the zoo." not in run("list").stdout


def test_sources_are_those_of_the_chosen(run: Run) -> None:
    text = run("list", "cicek", "--sources").stdout
    assert "unet3d_cicek: " in text and "unet_paper: " not in text


def test_nothing_found_is_said(run: Run) -> None:
    result = run("list", "transformer")
    assert result.exit_code == 0
    assert (
        result.stdout
        == f"None of the {len(spec_names())} networks of the zoo is like that; `tandem list` shows them all.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dimensions", "4"], "--dimensions: got '4', expected 2 or 3"),
        (["--norm", "bach"], "no norm is named 'bach'; take one of batch, instance, none; did you mean batch?"),
        (["--sort", "size"], "no order is named 'size'; take one of name, parameters, flops"),
        (["--sort", "flops,name"], "got the order 'flops,name', expected one of name, parameters, flops"),
        (["--max-parameters", "ten"], "--max-parameters: got 'ten', expected a number"),
        (["--min-parameters", "-3"], "--min-parameters: got '-3', expected a number"),
    ],
    ids=["dimensions", "norm", "sort", "sorts", "most", "fewest"],
)
def test_what_no_network_has_is_refused(refused: Callable[..., str], arguments: list[str], words: str) -> None:
    assert words in refused("list", *arguments)


@pytest.mark.parametrize(
    ("text", "number"), [("31044106", 31044106), ("10M", 10e6), ("1.5k", 1500), ("2 G", 2e9), ("31,044,106", 31044106)]
)
def test_numbers_of_parameters(text: str, number: float) -> None:
    assert parameter_count("--max-parameters", text) == number


def test_a_terminal_of_80_columns_gets_a_narrower_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as if it were a terminal
    monkeypatch.setenv("COLUMNS", "80")
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", run("list").stdout)
    assert max(map(len, narrow.splitlines())) <= 80
    assert all(f" {name} " in narrow for name in spec_names())
    monkeypatch.setenv("COLUMNS", "130")
    assert "in → out" in run("list").stdout and "in → out" not in narrow
