"""What the report draws of checks and loss curves: heat map, error profile on the U, curves with their envelope."""

from __future__ import annotations

import html
import json
import math
import re

import pytest

from backends.contract import Execution
from parity import Curves
from parity.envelope import MARGIN, Curve, How, Input, Rerun
from shared_specs import Recipe, load_spec, spec_names
from tandem.report import to_markdown
from tandem.report.findings import BatchOf, Check, ExecutionOf, Findings, Measured, RecipeOf, SpecOf
from tandem.report.html.curves import curves
from tandem.report.html.heatmap import DECADES, heatmap, networks
from tandem.report.html.parity import parity
from tandem.report.html.profile import profile
from tandem.report.html.ushape import ARM, BAND, DEPTH, LEFT, RIGHT, Axis, Drawing, seat_of
from tandem.report.sentences import parity_sentence

PAIRS = (("numpy_reference", "pytorch"), ("numpy_reference", "flax_nnx"), ("pytorch", "flax_nnx"))


def check_of(name: str = "unet_same", precision: str = "float64", far: dict[str, float | None] | None = None) -> Check:
    """Every layer half a floor away, but for those that are named."""
    spec, far = load_spec(name).narrow(1), far or {}
    measurements = [
        Measured(reference=one, candidate=other, probe=probe, quantity=quantity, distance=far.get(quantity, 0.5))
        for probe, quantities in {"forward": ["logits"], "activations": [layer.name for layer in spec.layers]}.items()
        for quantity in quantities
        for one, other in PAIRS
    ]
    limit = 8.0 if precision == "bfloat16" else 64.0
    return Check(
        equal=all(m.floors <= limit for m in measurements),
        limit=limit,
        spec=SpecOf.model_validate(spec.model_dump()),
        execution=ExecutionOf(device="cpu", precision=precision),
        batch=BatchOf(shape=(2, 3, 32, 48), origin="random images, seed 0"),
        seed=0,
        first_difference=None,
        measurements=tuple(measurements),
    )


def drawn(page: str) -> list[dict]:
    """The figures of a page, as plotly has them."""
    return [json.loads(found) for found in re.findall(r'class="plot-data">(.*?)</script>', page)]


def said(page: str) -> str:
    return html.unescape(re.sub("<[^>]+>", " ", page))


def test_a_network_is_one_heat_map_with_its_precisions() -> None:
    checks = [check_of(precision=precision) for precision in ("float64", "float32")] + [check_of("unet_paper")]
    again = check_of(precision="float32")
    assert [[c.execution.precision for c in group] for group in networks([*checks, again, again])] == [
        ["float64", "float32"],
        ["float64"],
        ["float32"],
        ["float32"],
    ]


def test_checks_of_replicas_say_how_many_and_whose_statistics() -> None:
    alone = check_of()
    own, shared = (
        alone.model_copy(update={"replicas": 2, "recipe": RecipeOf(batch_statistics=kind)})
        for kind in ("per_replica", "global")
    )
    narrower = shared.model_copy(update={"execution": ExecutionOf(device="cpu", precision="float32")})
    assert [check.title for check in (alone, own, narrower)] == [
        "unet_same, float64, cpu",
        "unet_same, float64, cpu, 2 replicas, per-replica batch statistics",
        "unet_same, float32, cpu, 2 replicas, global batch statistics",
    ]
    assert networks([shared, own, narrower]) == [[shared], [own], [narrower]]
    page = said(parity(Findings(checks=[own])))
    assert "unet_same, float64, cpu, 2 replicas, per-replica batch statistics: equal" in " ".join(page.split())
    assert "unet_same on 2x3x32x48, cpu, 2 replicas, per-replica batch statistics" in page
    assert "**unet_same, float64, cpu, 2 replicas, per-replica batch statistics: equal**" in to_markdown(
        Findings(checks=[own])
    )
    assert parity_sentence([alone]) == "The builds of unet_same are the same network: equal in float64."
    assert parity_sentence([shared, own]) == (
        "The builds of unet_same are the same network: equal in float64, and so are 2 replicas that train together."
    )


def test_every_cell_is_a_distance_of_the_record() -> None:
    (figure,) = drawn(heatmap([check_of(far={"logits": 640.0, "head": None}), check_of(precision="bfloat16")]))
    (trace,) = figure["data"]
    assert trace["x"] == ["forward", "activations"]
    groups = ["float64 (limit 64)"] * 3 + ["bfloat16 (limit 8)"] * 3
    names = [f"{group}: {' vs '.join(pair)}" for group, pair in zip(groups, PAIRS * 2, strict=True)]
    assert [label["text"] for label in figure["layout"]["annotations"]] == names
    assert trace["text"][1::2] == [["640", "inf"]] * 3 + [["0.50", "0.50"]] * 3
    assert trace["z"][1] == [pytest.approx(1.0), DECADES]
    assert trace["z"][7] == [pytest.approx(math.log10(0.5 / 8))] * 2
    assert (trace["zmin"], trace["zmax"]) == (-DECADES, DECADES)  # so that the limit is where the colour jumps


def test_what_a_probe_did_not_compare_has_no_cell() -> None:
    only_forward = [m for m in check_of(precision="float32").measurements if m.probe == "forward"]
    short = check_of(precision="float32").model_copy(update={"measurements": tuple(only_forward)})
    (trace,) = drawn(heatmap([check_of(), short]))[0]["data"]
    assert trace["z"][7][1] is None and trace["text"][7][1] == "—"


def test_every_row_of_the_heat_map_has_its_label_above_its_cells() -> None:
    (figure,) = drawn(heatmap([check_of(), check_of(precision="bfloat16")]))
    (trace,), rows = figure["data"], 6
    assert len(trace["y"]) == 2 * rows + 1 and trace["y"] == sorted(trace["y"]), "the edges of strips and cells"
    assert trace["z"][0::2] == [[None, None]] * rows, "a strip has no cell"
    assert trace["text"][0::2] == [["", ""]] * rows, "nor a word, which plotly would make of null"
    assert [label["y"] for label in figure["layout"]["annotations"]] == trace["y"][1::2]


def test_the_parity_section_has_the_verdicts_and_the_same_as_tables() -> None:
    page = parity(Findings(checks=[check_of(), check_of(precision="float32", far={"head": 65.0})]))
    text = said(page)
    assert "unet_same, float64, cpu: equal" in " ".join(text.split())
    assert "unet_same, float32, cpu: DIFFERENT" in " ".join(text.split())
    assert page.count("<table>") == 2
    assert parity(Findings()) == ""


@pytest.mark.parametrize("name", spec_names())
def test_every_layer_of_the_zoo_has_its_place_on_the_u(name: str) -> None:
    spec = load_spec(name)
    deep = spec.deep_supervision.levels if spec.deep_supervision else ()
    drawing = Drawing([layer.name for layer in spec.layers], deep)
    assert list(drawing.places) == [layer.name for layer in spec.layers]
    assert len({place.wall for place in drawing.places.values()}) == len(spec.layers)
    for layer in spec.layers:
        place = drawing.places[layer.name]
        assert place.seat.level == layer.level
        x, y = place.wall
        if layer.stage == "encoder" and layer.level < drawing.depth:
            assert (x, place.outward) == (LEFT, (-1, 0))
            assert -BAND * (layer.level + 1) < y < -BAND * layer.level
        elif layer.stage == "encoder":
            assert LEFT < x < RIGHT and y == -BAND * drawing.depth and place.outward == (0, -1)
        else:
            assert (LEFT < x < RIGHT) if place.seat.part == "nested" else x == RIGHT
            assert -BAND * (layer.level + 1) < y < -BAND * layer.level
    down = [drawing.places[layer.name].wall[1] for layer in spec.layers if layer.stage == "encoder"]
    assert down == sorted(down, reverse=True)
    up = [
        drawing.places[layer.name].wall[1]
        for layer in spec.layers
        if layer.stage == "decoder" and drawing.places[layer.name].seat.part == "decoder"
    ]
    assert up == sorted(up)
    skipped = {level for level, _ in drawing.skips()}
    merging = {layer.level for layer in spec.layers if layer.name.endswith(".merge")}
    senders = {layer.level for layer in spec.layers if layer.stage == "encoder"}
    assert skipped == merging & senders - {drawing.depth}


@pytest.mark.parametrize("name", ["", "images", "layer1.0.conv", "encoder", "encoder.x.down", "head2x"])
def test_names_of_other_networks_have_no_seat(name: str) -> None:
    assert seat_of(name) is None


def test_a_distance_is_drawn_outward_on_a_logarithmic_axis() -> None:
    axis = Axis(0.01, 100.0)
    assert [axis.share(d) for d in (0.0, 0.001, 0.01, 1.0, 100.0, 1e9, math.inf)] == [
        *[0.0] * 3,
        pytest.approx(0.5),
        *[1.0] * 3,
    ]
    places = Drawing(layer.name for layer in load_spec("unet_same").layers).places
    wall = places["encoder.0.block.0.conv"].wall
    assert places["encoder.0.block.0.conv"].at(0.5) == (wall[0] - ARM / 2, wall[1])
    assert places["decoder.0.block.0.conv"].at(1.0)[0] == RIGHT + ARM
    assert places["encoder.4.block.0.conv"].at(1.0)[1] == -BAND * 4 - DEPTH


def test_the_profile_has_every_layer_and_marks_the_first_difference() -> None:
    page = profile(Findings(checks=[check_of(far={"encoder.2.down": 65.0, "decoder.1.up": 1e6})]))
    (figure,) = drawn(page)
    lines = [trace for trace in figure["data"] if "customdata" in trace]
    assert [trace["name"] for trace in lines] == ["pytorch", "flax_nnx"]
    layers = [layer.name for layer in load_spec("unet_same").layers]
    for trace in lines:
        assert [cells[0] for cells in trace["customdata"]] == layers
        assert dict(cells[:2] for cells in trace["customdata"])["encoder.2.down"] == "65.0"
    assert "first difference: encoder.2.down" in [label["text"] for label in figure["layout"]["annotations"]]
    assert "The first layer beyond the limit of 64 is encoder.2.down of pytorch, 65.0 floors away" in said(page)
    outer = min(lines[0]["x"])
    assert lines[0]["x"][layers.index("encoder.2.down")] == outer < LEFT


def test_an_equal_profile_marks_nothing() -> None:
    page = profile(Findings(checks=[check_of()]))
    assert "All 49 layers lie within the limit of 64" in said(page)
    assert not [label for label in drawn(page)[0]["layout"]["annotations"] if "first difference" in label["text"]]


def test_an_infinite_distance_stands_at_the_end_of_the_axis() -> None:
    (figure,) = drawn(profile(Findings(checks=[check_of(far={"head": None})])))
    trace = next(trace for trace in figure["data"] if trace.get("name") == "pytorch")
    assert trace["x"][-1] == RIGHT + ARM
    assert trace["customdata"][-1][:2] == ["head", "inf"]


def test_nested_nodes_and_heads_of_deep_supervision_have_lines_of_their_own() -> None:
    for name, beside in {"monai_basic_unet_plus_plus": 6, "nnunet_plain_2d": 5}.items():
        (figure,) = drawn(profile(Findings(checks=[check_of(name)])))
        lines = [trace for trace in figure["data"] if trace.get("name") == "pytorch"]
        assert len(lines) == 1 + beside
        assert [trace["showlegend"] for trace in lines] == [True] + [False] * beside


def test_without_layers_there_is_no_profile() -> None:
    check = check_of()
    forward = check.model_copy(update={"measurements": tuple(m for m in check.measurements if m.probe == "forward")})
    foreign = check.model_copy(
        update={"measurements": tuple(m.model_copy(update={"quantity": "layer1.conv"}) for m in check.measurements)}
    )
    assert profile(Findings(checks=[forward, foreign])) == ""


def test_more_profiles_than_three_wait_to_be_asked_for() -> None:
    page = profile(Findings(checks=[check_of() for _ in range(5)]))
    assert len(drawn(page)) == 5
    assert "2 more" in said(page)


@pytest.fixture
def record() -> Curves:
    execution = Execution(precision="float32")
    return Curves(
        spec=load_spec("unet_same").model_dump(mode="json"),
        spec_fingerprint="",
        execution=How(device=execution.device, precision="float32", tuning=execution.tuning),
        recipe=Recipe(),
        seed=0,
        batch=Input(shape=(1, 3, 32, 48), origin="made <up>; labels: some"),
        judge="numpy_reference",
        reference=(2.0, 1.5, 1.0),
        reruns=(Rerun(seed=0, times=1, losses=(2.25, 1.5, 1.0)), Rerun(seed=1, times=64, losses=(2.0, 1.0, 1.0))),
        curves=(
            Curve(backend="pytorch", losses=(2.0, 1.5, 1.125)),
            Curve(backend="flax_nnx", losses=(2.0, 9.5, math.nan)),
        ),
    )


def test_loss_curves_are_those_of_the_record(record: Curves) -> None:
    page = curves(Findings(curves=[record]))
    (figure,) = drawn(page)
    above = {trace["name"]: trace for trace in figure["data"] if "yaxis" not in trace}
    below = [trace for trace in figure["data"] if trace.get("yaxis") == "y2"]
    assert above["pytorch"]["y"] == [2.0, 1.5, 1.125]
    assert above["flax_nnx"]["y"] == [2.0, 9.5, None]
    assert above["numpy_reference, float64 (reference)"]["y"] == [2.0, 1.5, 1.0]
    foot = 0.125 / 2  # where what is the reference to the last bit stands on a logarithmic axis
    named = {trace["name"]: trace["y"] for trace in below}
    assert named["pytorch"] == [foot, foot, 0.125]
    assert named["flax_nnx"] == [foot, 8.0, None]
    assert named["as far as re-runs under rounding noise went"] == [0.25] * 3
    assert named["allowed"] == [max(MARGIN * 0.25, 2.0), max(MARGIN * 0.5, 2.0), max(MARGIN * 0.5, 2.0)]
    assert figure["layout"]["yaxis2"]["type"] == "log"


def test_the_step_at_which_reruns_have_parted_is_marked(record: Curves) -> None:
    (figure,) = drawn(curves(Findings(curves=[record])))
    assert record.parted_at == 1
    assert [line["x0"] for line in figure["layout"]["shapes"]] == [1]
    nearer = (Rerun(seed=0, times=1, losses=(2.0625, 1.5, 1.0)),)
    (figure,) = drawn(curves(Findings(curves=[record.model_copy(update={"reruns": nearer})])))
    assert "shapes" not in figure["layout"]


def test_loss_curves_are_told_in_words_and_in_a_table(record: Curves) -> None:
    page = curves(Findings(curves=[record]))
    text = " ".join(said(page).split())
    assert "the reference's falls from 2 to 1" in text
    assert "re-runs part by 2.5e-01 of the loss" in text
    assert "pytorch stays within: at its farthest it is at 0.031 of what is allowed" in text
    assert "flax_nnx is outside from step 2 on: up to inf times what is allowed" in text
    assert "made <up>" in text and "made <up>" not in page
    assert page.count("<table>") == 1
    assert curves(Findings()) == ""


def test_loss_curves_are_in_the_markdown_too(record: Curves) -> None:
    page = to_markdown(Findings(curves=[record]))
    assert "### unet_same, float32, cpu, 3 steps of sgd" in page
    assert "Outside: flax_nnx at step 2 left what rounding alone does to the loss. Trained on made \\<up\\>" in page
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    assert ["numpy_reference, float64", "2.000000", "1.000000", "", ""] in cells
    assert ["flax_nnx", "2.000000", "nan", "inf", "2"] in cells
    assert "## Loss curves" not in to_markdown(Findings())
