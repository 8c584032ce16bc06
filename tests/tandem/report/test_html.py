"""The page as text: its sections, figures, tables, and what it weighs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from benchmarks.records import Record, Startup, Window
from tandem.report import Findings, load, to_html, to_markdown

from .made_up import GPU_MACHINE, both, check, five_hundred, on_gpu, processes, record, startup, sweep

pytest.importorskip("plotly", reason="plotly is not installed; it comes with the extra `report`")


def plots(page: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/json" class="plot-data">(.*?)</script>', page, re.DOTALL)
    return [json.loads(each) for each in found]


def packed(page: str, identity: str) -> str:
    found = re.search(f'id="{identity}">([^<]*)<', page)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1])).decode()


def section(page: str, identity: str) -> str:
    """The HTML of one section; "" where the page has none."""
    found = re.search(f'<section id="{identity}".*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def bare(html: str) -> str:
    """Its words."""
    return " ".join(re.sub("<[^>]*>", " ", re.sub("<script.*?</script>", "", html, flags=re.DOTALL)).split())


def test_five_hundred_records_make_a_page_under_6_mb(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings(checks=[check()], records=five_hundred())
    assert len(findings.records) == 500
    started = time.perf_counter()
    page = to_html(findings)
    with capsys.disabled():
        print(f" {len(page) / 1e6:.1f} MB in {time.perf_counter() - started:.2f} s", end="")
    assert len(page.encode()) < 6_000_000
    assert len(packed(page, "plotly")) > 1_000_000, "plotly is in the page"


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = to_html(Findings(checks=[check()], records=both(0.01, 0.02)))
    assert not re.search(r'\b(src|href)="(?!#)', page), "every link is within the page"
    assert "@import" not in page and "url(" not in page


def test_only_the_pages_own_scripts_may_run() -> None:
    """The policy has the digests of the two scripts, and of nothing else."""
    page = to_html(Findings(records=both(0.01, 0.02)))
    allowed = re.findall("'sha256-([^']*)'", page)
    own = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(own) == 1
    expected = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in (packed(page, "plotly"), *own)]
    assert allowed == expected
    assert "default-src 'none'" in page


class Outline(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.levels: list[int] = []
        self.identities: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if "id" in values:
            self.identities.append(values["id"] or "")
        if tag == "a":
            self.links.append((values.get("href") or "").removeprefix("#"))


def test_headings_go_down_one_by_one_and_every_link_leads_somewhere() -> None:
    outline = Outline(to_html(Findings(checks=[check()], records=five_hundred(), against=both(0.01, 0.02))))
    assert outline.levels[0] == 1 and outline.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    assert len(outline.identities) == len(set(outline.identities))
    assert set(outline.links) <= set(outline.identities)
    assert {"answer", "throughput", "scaling", "roofline", "memory", "start", "energy", "provenance"} <= set(
        outline.links
    )


def test_sections_with_nothing_to_show_are_left_out() -> None:
    page = to_html(Findings(records=both(0.01, 0.02, ceilings=None, startup=None, peak_memory_bytes=None)))
    for identity in ("against", "parity", "scaling", "roofline", "memory", "start", "energy"):
        assert section(page, identity) == "", identity
    assert section(page, "throughput") and section(page, "provenance")


def test_the_records_in_the_page_are_those_it_was_made_of(tmp_path) -> None:
    findings = Findings([check()], both(0.01, 0.02), ["busy"], [record(commit="b" * 40)])
    path = tmp_path / "again.json"
    path.write_text(packed(to_html(findings), "records"))
    assert load([path]) == findings


def test_cards_say_the_choice_and_its_factor() -> None:
    page = to_html(Findings(records=both(0.010, 0.020, batch=1)))
    cards = bare(page[page.index('class="cards"') : page.index("</ul>", page.index('class="cards"'))])
    assert "Inference throughput pytorch, default ratio 2.00, 95% interval" in cards
    assert "Training throughput Not measured" in cards
    assert "tandem compare unet_bn_same --narrow 8 --size 64x64 --phase train_step" in page


@pytest.mark.parametrize("percent", [0.0, 80.0])
def test_a_card_says_that_the_machine_was_busy(percent: float) -> None:
    page = section(to_html(Findings(records=both(0.01, 0.02, other_work_percent=percent))), "answer")
    cards = page.partition('class="setting"')[0]
    for scenario, said in (("inference-throughput", percent > 0), ("training-memory", False)):
        card = re.search(f'<a href="#{scenario}">(.*?)</a>', cards)
        assert card is not None
        assert ("Not to be relied on: the machine was busy." in card[1]) is said


def test_a_baseline_has_no_interval_beside_itself() -> None:
    records = [*both(0.01, 0.02), *both(0.02, 0.03, tuning="tuned")]
    tunings = to_markdown(Findings(records=records)).partition("## What tuning brings")[2]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tunings.splitlines() if line.startswith("|")]
    assert [row[3:] for row in rows if row[:2] == ["pytorch", "default"]] == [["the baseline", ""]]
    assert all(" to " in row[4] for row in rows if row[:2] == ["flax_nnx", "default"])


def test_bars_have_a_value_an_interval_and_a_colour_for_each_backend() -> None:
    page = section(to_html(Findings(records=both(0.010, 0.020))), "throughput")
    (plot,) = plots(page)
    (trace,) = plot["data"]
    assert trace["x"] == [pytest.approx(2 / 0.0202), pytest.approx(2 / 0.0101)], "the fastest last, which is on top"
    assert trace["marker"]["line"]["color"] == ["var(--flax-nnx)", "var(--pytorch)"]
    assert all(value > 0 for value in (*trace["error_x"]["array"], *trace["error_x"]["arrayminus"]))


def test_what_could_not_be_timed_stands_in_the_table() -> None:
    page = section(to_html(Findings(records=[*processes(0.01), record(None, "flax_nnx")])), "throughput")
    assert "out of memory" in bare(page)


def test_out_of_memory_is_a_mark_on_the_scaling_curve() -> None:
    records = [*sweep("pytorch", 8), *sweep("flax_nnx", 4)]
    page = section(to_html(Findings(records=records)), "scaling")
    (plot,) = plots(page)
    lines = {trace["name"]: trace for trace in plot["data"] if trace["mode"] == "lines+markers"}
    marks = {trace["name"]: trace for trace in plot["data"] if trace["mode"] == "markers"}
    assert lines["pytorch default"]["x"] == [1, 2, 4, 8]
    assert marks["pytorch default: not timed"]["x"] == [16]
    assert marks["flax_nnx default: not timed"]["x"] == [8, 16]
    assert marks["flax_nnx default: not timed"]["text"] == ["out of memory"] * 2
    assert "The largest batch that fits, before memory ends: pytorch default 8, flax_nnx default 4." in bare(page)


def test_two_shapes_are_no_sweep() -> None:
    assert section(to_html(Findings(records=[*both(0.01, 0.02, batch=1), *both(0.02, 0.04, batch=2)])), "scaling") == ""


def test_scaling_over_the_image_size_is_a_figure_of_its_own() -> None:
    sides = [record(1e-6 * side**2, size=(side, side)) for side in (32, 64, 128)]
    page = section(to_html(Findings(records=[*sides, *sweep("pytorch", 8, tuning="tuned")])), "scaling")
    by_batch, by_size = plots(page)
    assert by_batch["data"][0]["x"] == [1, 2, 4, 8]
    assert by_size["data"][0]["x"] == [32, 64, 128]
    assert by_size["data"][0]["y"] == [pytest.approx(2.0)] * 3, "two images, a microsecond a pixel of a step"


def test_the_roofline_has_the_ceilings_and_each_cell() -> None:
    page = section(to_html(Findings(records=both(0.010, 0.020))), "roofline")
    (plot,) = plots(page)
    roof, *cells = plot["data"]
    assert roof["x"][1] == pytest.approx(10.0), "1e12 FLOP/s and 1e11 B/s meet at 10 FLOP a byte"
    assert roof["y"][1] == roof["y"][2] == 1e12
    assert {trace["name"] for trace in cells} == {"pytorch default", "flax_nnx default"}
    (of_pytorch,) = (trace for trace in cells if trace["name"] == "pytorch default")
    flops = record().flops
    assert (of_pytorch["x"], of_pytorch["y"]) == ([pytest.approx(100.0)], [pytest.approx(flops / 0.0101)])


def test_a_public_unet_has_no_place_on_the_roofline() -> None:
    records = [*both(0.01, 0.02), *processes(0.01, "peer_monai_basic_unet", another_network="MONAI")]
    page = to_html(Findings(records=records))
    assert "peer_monai_basic_unet" not in section(page, "roofline")
    assert "peer_monai_basic_unet (another network)" in json.dumps(plots(section(page, "throughput")))


def test_energy_is_joules_an_image() -> None:
    records = [record(0.01, "pytorch", n, **on_gpu(40.0, 0.01)) for n in (1, 2, 3)]
    (plot,) = plots(section(to_html(Findings(records=records)), "energy"))
    assert plot["data"][0]["x"] == [pytest.approx(2.0)], "40 J over 10 steps of 2 images"


def test_the_steps_to_break_even_stand_in_a_table_and_where_lines_cross() -> None:
    late, soon = startup(11.0, compile_s=9.0), startup(1.0)
    records = [
        *processes(0.010, "pytorch", spread=0.0, tuning="tuned", startup=late, compilations=2),
        *processes(0.020, "pytorch", spread=0.0, startup=soon),
    ]
    page = section(to_html(Findings(records=records)), "start")
    assert "pytorch tuned pytorch default 10.0 s 9.00 s 10.00 ms 1,001 1,001" in bare(page)
    (plot,) = plots(page)
    tuned, default = (dict(zip(trace["x"], trace["y"], strict=True)) for trace in plot["data"])
    assert tuned[1] == 11.0 and default[1] == 1.0
    late_steps = [steps for steps in tuned if tuned[steps] > default[steps]]
    assert max(late_steps) < 1001 <= min(steps for steps in tuned if tuned[steps] < default[steps])


def test_the_parts_of_a_start_add_up_where_replicas_joined_each_other() -> None:
    parts = {"start_s": 1.0, "import_s": 2.0, "join_s": 4.0, "build_s": 0.5, "program_s": 0.2, "first_call_s": 0.3}
    way = Startup(**parts, trace_s=0.15, compile_s=0.05)
    together = processes(0.01, phase="train_step", replicas=2, cores=1, startup=way)
    page = section(to_html(Findings(records=[*processes(0.01, phase="train_step"), *together])), "start")
    assert "8.00 s 1.00 s 2.00 s 4.00 s 0.50 s 0.20 s 0.30 s 0.15 s 0.05 s" in bare(page)


def test_provenance_has_versions_flags_and_commands() -> None:
    page = bare(section(to_html(Findings(records=both(0.01, 0.02))), "provenance"))
    for words in ("Made-up CPU, 2 cores, 16.0 GiB", "torch 2.13", "a" * 40, "tandem bench unet_bn_same", "tf32 off"):
        assert words in page


def test_flags_have_the_name_of_their_backend() -> None:
    flags = {"pytorch": {"mkldnn": "ieee"}, "flax_nnx": {"precision": "HIGHEST"}}
    records = [each.model_copy(update={"flags": flags[each.cell.backend]}) for each in both(0.01, 0.02)]
    page = to_markdown(Findings(records=records))
    assert "- Precision flags of pytorch: mkldnn ieee\n- Precision flags of flax_nnx: precision HIGHEST\n" in page
    tuned = processes(0.01, tuning="tuned", flags={"mkldnn": "tf32"})
    page = to_markdown(Findings(records=[*records, *tuned]))
    assert "flags of pytorch default: mkldnn ieee\n" in page and "flags of pytorch tuned: mkldnn tf32\n" in page
    in_bfloat16 = processes(0.01, precision="bfloat16", flags={"mkldnn": "bf16"})
    page = to_markdown(Findings(records=[*records, *in_bfloat16]))
    assert "flags of pytorch float32: mkldnn ieee\n" in page and "flags of pytorch bfloat16: mkldnn bf16\n" in page


def test_no_interval_of_one_process_is_a_number() -> None:
    page = to_html(Findings(records=[record(0.01), record(0.02, "flax_nnx")]))
    cells = bare(section(page, "throughput"))
    assert cells.count("none: too few processes") == 3, "of two throughputs, and of the ratio"
    assert not re.search(r"\binf\b", cells)


def test_a_check_that_failed_is_said_first() -> None:
    page = to_html(Findings(checks=[check(equal=False)]))
    assert "The builds of unet_bn_same differ in float64, first in logits (probe forward)." in section(page, "answer")
    assert "DIFFERENT" in section(page, "parity")


def test_remarks_are_said_once() -> None:
    page = to_html(Findings(records=[record()], remarks=["busy", "busy"]))
    assert page.count("Beware: ") == 1


def test_a_broken_record_gives_no_figure_and_no_error() -> None:
    odd: list[Record] = [record(startup=startup(float("nan"))), record(startup=startup(-1.0), replicate=2)]
    assert "<h2" in to_html(Findings(records=odd))


def test_a_place_that_one_process_timed_is_no_cross() -> None:
    records = [*sweep("pytorch", 8), record(None, batch=4, replicate=2)]
    (plot,) = plots(section(to_html(Findings(records=records)), "scaling"))
    marks = {trace["name"]: trace for trace in plot["data"] if trace["mode"] == "markers"}
    assert marks["pytorch default: not timed"]["x"] == [16]


def test_what_computes_something_else_is_not_said_not_to_fit() -> None:
    refused = [record(None, batch=batch, status="not_comparable") for batch in (1, 2, 4)]
    page = bare(section(to_html(Findings(records=[*refused, *sweep("flax_nnx", 4)])), "scaling"))
    assert "Nothing was timed: pytorch default." in page and "Nothing fits" not in page


def test_a_card_of_what_is_not_comparable_has_no_ratio() -> None:
    records = [*both(0.01, 0.02), record(None, "numpy_reference", status="not_comparable", message="another epsilon")]
    cards = section(to_html(Findings(records=records)), "answer").partition('class="setting"')[0]
    card = re.search(r'<a href="#inference-throughput">(.*?)</a>', cards)
    assert card is not None
    assert bare(card[1]) == "Inference throughput Not comparable"


EXTREME: dict[str, list[Record]] = {
    "no_time": [record(windows=(Window(steps=10, seconds=5e-324),)), record(0.01, "flax_nnx")],
    "from_the_least_to_the_most": both(1e300, 1e-300),
    "device_without_a_number": [record(device="cuda:first", machine=GPU_MACHINE), record(0.01)],
    "device_below_zero": [record(device="cuda:-9", machine=GPU_MACHINE), record(0.01)],
}


@pytest.mark.parametrize("name", EXTREME)
def test_records_that_nobody_measured_are_a_page_all_the_same(name: str) -> None:
    assert "<h1>Tandem report</h1>" in to_html(Findings(records=EXTREME[name]))
