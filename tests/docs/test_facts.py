"""What the documentation says of the code is so: tables, names, links, versions."""

from __future__ import annotations

import ast
import re
import tomllib
import types
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

import backends
from backends import registry
from docs import loss_curves, tables
from parity import LIMIT, PROBES
from parity.curves import RERUNS, STEPS
from parity.envelope import MARGIN, PARTED
from shared_specs import UNetSpec, load_spec, spec_names
from shared_specs.catalog import CORE
from shared_specs.schema import LARGEST_FILE_BYTES, LARGEST_PARAMETER_COUNT
from shared_specs.shapes import size_label
from tandem.commands.curves import NARROW, SIZE
from tests.meta.faults.catalogue import MUTANTS
from tests.meta.faults.criteria import RULES
from tests.meta.faults.judging import sound_settings

from .pages import PAGES, ROOT, blocks, prose, read, rows

PAIRS = [", ".join(pair) for pair in combinations(["numpy_reference", "pytorch", "flax_nnx"], 2)]


def between(page: str, name: str) -> str:
    return read(page).partition(f"<!-- begin: {name} -->")[2].partition(f"<!-- end: {name} -->")[0]


@pytest.mark.parametrize("precision", tables.PRECISIONS)
def test_distances_are_complete_and_within_the_limit(precision: str) -> None:
    heads, _, *body = rows(between("docs/parity.md", f"distances in {precision}"))
    assert heads[3:] == list(PROBES)
    assert [(cells[0], cells[2]) for cells in body] == [(name, pair) for name in CORE for pair in PAIRS]
    distances = [float(cell.replace(",", "")) for cells in body for cell in cells[3:]]
    assert len(distances) == len(CORE) * len(PAIRS) * len(PROBES)
    assert max(distances) <= tables.limit_in(precision)
    assert sum(distance > 0 for distance in distances) > len(distances) / 2


def test_summary_agrees_with_the_tables() -> None:
    lines = rows(between("docs/parity.md", "summary"))[2:]
    assert [cells[0] for cells in lines] == list(tables.PRECISIONS)
    for cells in lines:
        body = rows(between("docs/parity.md", f"distances in {cells[0]}"))[2:]
        assert float(cells[4]) == max(float(cell) for row in body for cell in row[4:])
        assert float(cells[5]) == tables.limit_in(cells[0])


def test_planted_faults_lie_far_beyond_the_limit_in_float64() -> None:
    body = rows(between("docs/parity.md", "planted faults"))[2:]
    assert len(body) == 3
    assert all(float(cells[1].replace(",", "")) > 1000 * LIMIT for cells in body)
    assert all(cells[2].startswith("`encoder.2.block.0.norm") for cells in body)


@pytest.mark.parametrize("table", ["faults by subject", "faults by probe", "faults by backend"])
def test_every_planted_fault_is_told_as_caught_and_located(table: str) -> None:
    body = [cells for cells in rows(between("docs/parity.md", table))[2:] if cells[0] != "**all**"]
    assert sum(int(cells[2]) for cells in body) == len(MUTANTS)
    for cells in body:
        assert cells[2] == cells[3] == cells[4] == cells[5], cells[0]


def test_rules_are_told_as_they_were_counted() -> None:
    ours, *others = rows(between("docs/parity.md", "faults by rule"))[2:]
    assert ours[1:] == [f"{len(MUTANTS)} of {len(MUTANTS)}", "0", f"0 of {len(sound_settings(MUTANTS))}"]
    assert [cells[0] for cells in others] == list(RULES)
    for cells in others:
        assert cells[1] == f"{len(MUTANTS) - int(cells[2])} of {len(MUTANTS)}"


def test_tables_are_replaced_between_their_markers() -> None:
    page = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"
    assert tables.replace(page, "x", "new") == page.replace("old", "new")
    with pytest.raises(SystemExit, match="no markers"):
        tables.replace(page, "y", "new")


def test_sound_curves_are_within_and_faults_are_outside_in_float64() -> None:
    sound = rows(between("docs/curves.md", "sound curves"))[2:]
    assert len(sound) == len(loss_curves.SETTINGS)
    for cells, (name, _, picture, optimizer, precision) in zip(sound, loss_curves.SETTINGS, strict=True):
        assert cells[:4] == [f"`{name}`", picture, optimizer, precision]
        assert max(map(float, cells[-3:])) < 1
    faults = {cells[0]: cells[1:] for cells in rows(between("docs/curves.md", "faulty curves"))[2:]}
    unseen = "momentum 0.1001 for 0.1 in one layer's statistics"
    assert faults[unseen][0] == "never"  # as the page says of what does not move the loss
    assert [name for name, cells in faults.items() if cells[0] == "never"] == [unseen]
    assert all(cells[2] == "never" for cells in faults.values())


def test_the_factors_of_curves_are_the_constants() -> None:
    page = " ".join(read("docs/curves.md").split())
    times = {3: "three", 6: "six"}
    assert f"{times[2 * RERUNS]} re-runs of the reference" in page
    assert f"allowed(t) = {MARGIN:g} reach(t)" in page and f"The factor of {MARGIN:g} is for chance" in page
    assert PARTED == 0.1 and "more than a tenth of r(t)" in page
    assert f"cut about their centre to {size_label(SIZE[2])} pixels" in page
    assert f"Widths divided by {NARROW}" in page and f"{STEPS} steps" in page


def test_every_trap_names_tests_that_exist() -> None:
    listed = rows(read("docs/parity.md").partition("## Known traps")[2].partition("\n## ")[0])[2:]
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(listed) >= 9
    for trap, named in listed:
        assert re.findall(r"`(test_\w+)`", named), trap
        assert set(re.findall(r"`(test_\w+)`", named)) <= tests


def spec_keys(model: type[BaseModel], prefix: str = "", seen: set[type[BaseModel]] | None = None) -> Iterator[str]:
    """Every key of a spec file, dotted; a table that is met again, such as the norm of a head, by its own key alone."""
    seen = set() if seen is None else seen
    for name, field in model.model_fields.items():
        new = [table for table in models(field.annotation) if table not in seen]
        seen.update(new)
        yield from (key for table in new for key in spec_keys(table, f"{prefix}{name}.", seen))
        if not new:
            yield prefix + name


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated, tuple):
        for part in get_args(annotation):
            yield from models(part)


def section(page: str, title: str) -> str:
    """A section of second rank."""
    return read(page).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_key_of_a_spec_is_explained_and_no_other() -> None:
    explained = [key for cells in rows(section("docs/specs.md", "Keys")) for key in re.findall(r"`([^`]+)`", cells[0])]
    assert len(explained) == len(set(explained))
    assert set(explained) == set(spec_keys(UNetSpec))


ABSENT = ("norm.fewer_channels", "up.before", "up.after", "merge.before_up")
"""Keys that may be absent of tables that may not."""


def test_keys_that_may_be_absent_are_in_italics() -> None:
    cells = " ".join(row[0] for row in rows(section("docs/specs.md", "Keys")))
    listed = {key: bool(italic) for italic, key in re.findall(r"(\*?)`([^`]+)`", cells)}
    for name, field in UNetSpec.model_fields.items():
        for key in [key for key in listed if key.partition(".")[0] == name]:
            assert listed[key] >= (not field.is_required()), key
            assert listed[key] <= (not field.is_required()) or key in ABSENT, key


def test_every_kind_of_layer_is_explained_and_no_other() -> None:
    from backends.numpy_reference.unet import KINDS

    listed = rows(section("docs/specs.md", "What each kind of layer computes"))[2:]
    assert {kind for cells in listed for kind in re.findall(r"`([^`]+)`", cells[0])} == set(KINDS)


def test_the_overrides_of_the_page_are_taken() -> None:
    (block,) = blocks("docs/specs.md", "toml")
    values = load_spec("unet_bn_same").model_dump() | tomllib.loads(block.text)
    spec = UNetSpec.model_validate(values)
    assert len(spec.override) == 3
    assert [layer.settings.stride for layer in spec.layers if layer.name == "encoder.4.block.0.conv"] == [(2, 2)]
    assert {layer.kind for layer in spec.layers if layer.name.startswith("decoder.0.attention.")} >= {"multiply"}


def test_limits_of_a_spec_are_the_constants() -> None:
    page = " ".join(read("docs/specs.md").split())
    assert (
        f"more than {LARGEST_PARAMETER_COUNT:,} parameters and a file of more than {LARGEST_FILE_BYTES // 1024} KiB"
        in page
    )


def test_core_table_is_the_core() -> None:
    table = read("docs/zoo.md").partition("The first five are the core")[2].partition("\n`tests/")[0]
    listed = {cells[0].strip("`"): cells for cells in rows(table)[2:]}
    assert sorted(listed) == sorted(CORE)
    for name, cells in listed.items():
        spec = load_spec(name)
        assert cells[2] == f"{spec.parameter_count:,}"
        assert cells[3] == spec.norm.kind
        assert cells[1].startswith(f"{spec.in_channels} → {spec.out_channels} channels")


def test_zoo_table_is_the_zoo() -> None:
    table = read("docs/zoo.md").partition("## Networks")[2].partition("\nThe first five")[0]
    listed = {cells[0].strip("`"): cells for cells in rows(table)[2:]}
    assert sorted(listed) == spec_names()
    for name, cells in listed.items():
        spec = load_spec(name)
        channels = f"{spec.in_channels} → {spec.out_channels}"
        assert cells[1:4] == [str(spec.dimensions), channels, f"{spec.parameter_count:,}"]
        assert cells[5].strip("—") == spec.licence


def test_benchmark_figures_are_the_constants() -> None:
    from benchmarks import fingerprint, measure, plan, verdict, worker

    words = {5: "Five", 7: "Seven"}
    page = " ".join(read("docs/benchmarks.md").split())
    for sentence in (
        f"windows of about {measure.WINDOW_S:g} s until the last three agree within {worker.STABLE - 1:.0%}, "
        f"for at most {measure.WARM_UP_LIMIT_S:g} s",
        f"{words[measure.ROUNDS]} windows of about {measure.WINDOW_S:g} s each",
        f"Up to {measure.LATENCIES} single steps, each with a synchronisation, "
        f"for about {measure.LATENCIES_LIMIT_S:g} s",
        f"exceeds `--time-limit` ({measure.TIME_LIMIT_S:g} s)",
        f"widths divided by {plan.CPU_NARROW}, at batch {plan.CPU_BATCH} of {plan.CPU_SIZE}²",
        f"at full width, batch {plan.GPU_BATCH}",
        f"{fingerprint.SAMPLES} sampled logits",
        f"the ratio is above {verdict.RESOLUTION:g}",
    ):
        assert sentence in page


@pytest.mark.needs_backends("pytorch", "flax_nnx", "flax_linen")
def test_leaves_are_those_of_the_backends() -> None:
    from backends.flax_linen.weights import LEAVES as LINEN
    from backends.flax_nnx.weights import LEAVES as FLAX
    from backends.pytorch.weights import LEAVES as PYTORCH

    table = read("docs/backends.md").partition("| tensor |")[2].partition("\n\n")[0]
    listed = {
        cells[0].strip("`"): (cells[1].strip("`"), (cells[2].strip("`"), cells[3].strip("`")))
        for cells in rows(table)[1:]
    }
    assert listed == {leaf: (PYTORCH[leaf][0], FLAX[leaf]) for leaf in PYTORCH}
    assert LINEN == FLAX
    assert all(axes.split(" -> ")[0] == axes.split(" -> ")[1] for _, axes in PYTORCH.values())


def test_precisions_are_those_of_the_backends() -> None:
    listed = {cells[0].strip("`"): cells[2] for cells in rows(read("docs/backends.md").partition("\n## ")[0])[2:]}
    assert list(listed) == list(registry.BUILT_IN)
    for name in [name for name in listed if name in backends.available()]:
        assert listed[name] == ", ".join(backends.capabilities(name).precisions)


def test_mirrored_files_are_listed() -> None:
    mirrored, _, of_the_engine = section("docs/backends.md", "Mirrored folders").partition("\n### ")
    files = {name: {path.name for path in (ROOT / "backends" / name).glob("*.py")} for name in backends.names()[:3]}
    files["jax_engine"] = {path.name for path in (ROOT / "backends" / "jax_engine").glob("*.py")}
    where = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(mirrored)[2:]}
    assert set(where) == files["pytorch"] - {"__init__.py", "noisy.py", "noisy_layers.py", "rounding.py"}
    for name, stands_in in where.items():
        places = [folder for folder in ("flax_nnx", "jax_engine") if name in files[folder]]
        assert places == (["flax_nnx", "jax_engine"] if stands_in == "both" else [stands_in]), name
    others = {name.strip("`") for cells in rows(of_the_engine)[2:] for name in cells[0].split(", ")}
    assert files["jax_engine"] - set(where) - {"__init__.py"} <= others <= files["jax_engine"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", prose(page)):
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(
        r"`((?:tests|docs|examples|benchmarks|parity|backends|shared_specs|tandem)/[\w./]*)`", read(page)
    )
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []


def test_supported_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert project["requires-python"] == ">=3.11,<3.14"
    versions = read("README.md").partition("## Versions")[2]
    assert "Python 3.11 to 3.13" in versions
    for requirement in [*extras["torch"], *extras["flax"]]:
        assert requirement.replace(">=", " ≥ ") in versions
