"""Records: what is written is what is read, and what cannot be read is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.record_files import RecordError, load_records, save_record
from benchmarks.records import Gate, Record, Startup, Window
from shared_specs import TandemError

MakeRecord = Callable[..., Record]


def test_round_trip(record: MakeRecord, tmp_path: Path) -> None:
    kept = record(latencies_s=(0.1, 0.2), threads={"torch": 2})
    path = save_record(kept, tmp_path / "new" / "folder")
    assert load_records(path) == load_records([tmp_path / "new" / "folder"]) == [kept]


def test_an_infinite_distance_is_kept_in_strict_json(record: MakeRecord, tmp_path: Path) -> None:
    gate = Gate(comparable=False, distance=float("inf"), quantity="logits", limit=64.0)
    kept = record(status="not_comparable", gate=gate, windows=())
    path = save_record(kept, tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    json.loads(json.dumps(kept.to_dict()), parse_constant=refuse)
    assert load_records(path) == [kept]


def test_figures_follow_from_the_raw_times(record: MakeRecord, tmp_path: Path) -> None:
    windows = tuple(Window(steps=4, seconds=seconds) for seconds in (4.0, 1.0, 2.0))
    values = json.loads(save_record(record(windows=windows), tmp_path).read_text())
    assert (values["step_s"], values["images_per_s"], values["flops_per_s"]) == (0.5, 4.0, 2000.0)
    values["step_s"] = 1e-9
    assert Record.model_validate(values).step_s == 0.5


@pytest.mark.parametrize("status", ["not_comparable", "failed", "out_of_memory", "killed", "timed_out"])
def test_only_an_ok_record_has_a_throughput(status: str, record: MakeRecord) -> None:
    assert record(status=status).images_per_s is None


def test_records_are_found_in_the_json_of_pytest_benchmark(record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    entries = [{"extra_info": {"record": record().to_dict()}}, {"extra_info": {}}]
    path.write_text(json.dumps({"benchmarks": entries}))
    assert load_records(path) == [record()]


def test_no_host_name_is_recorded(record: MakeRecord) -> None:
    assert "host" not in json.dumps(record().to_dict()).lower()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds no benchmark record"),
        ('{"a": 1}', "holds no benchmark record"),
        ('{"schema_version": 99}', "is of record version 99, expected 1"),
        ('{"schema_version": 1}', "key cell is missing"),
        ("\x00\xff", "is not JSON"),
    ],
)
def test_malformed_files_are_one_line(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecordError) as caught:
        load_records(path)
    assert str(caught.value).startswith(str(path)) and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_type_names_its_key(record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(record().to_dict() | {"windows": [{"steps": "many", "seconds": 1}]}))
    with pytest.raises(RecordError, match=r"windows.0.steps: got 'many'"):
        load_records(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        load_records(tmp_path / "none.json")


def test_a_folder_that_cannot_be_made_is_one_line(record: MakeRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TandemError, match="cannot be made"):
        save_record(record(), tmp_path / "file")


@pytest.mark.parametrize(
    ("cache", "environment", "counts"),
    [
        ("None", {}, True),
        ("jax", {}, False),
        ("jax", {"JAX_ENABLE_COMPILATION_CACHE": "false"}, True),
    ],
    ids=["no cache", "a cache", "a cache that is off"],
)
def test_a_start_that_another_process_compiled_for_does_not_count(
    record: MakeRecord, cache: str, environment: dict[str, str], counts: bool
) -> None:
    start = Startup(start_s=1.0, import_s=1.0, build_s=1.0, program_s=1.0, first_call_s=1.0)
    kept = record(startup=start, flags={"jax_compilation_cache_dir": cache}, environment=environment)
    assert (kept.cold_startup == start) is counts
