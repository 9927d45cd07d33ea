"""The benchmarks' results: a failed part is told and loses no other, tables hold what was measured, ratios are held."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench_all
import pytest
from bench_all import PARTS, Part, as_markdown, compare, read_report, run_part, stored_ratios, write_results
from reliability import redraw, store
from render import BLOCK, NOT_YET, billion_a_day, blocks_of, fill, summary_table, write_plots
from reporting import at, figure, markdown

ROOT = Path(__file__).resolve().parent.parent

STATS = {"p50_ms": 3.0, "p90_ms": 5.0, "p99_ms": 9.0, "max_ms": 20.0, "worker_cores": 0.5, "broker_cores": 0.2}
POINT = {"rate": 200_000.0, "min": 190_000.0, "max": 210_000.0, "worker_cpu_us": 6.0, "broker_cpu_us": 0.8}
POINT |= {"decode_us": 0.5, "infer_us": 2.0, "publish_us": 0.5, "commit_us": 1.0}
LATENCY: dict[str, Any] = {
    "20": {"rate": 20, **STATS},
    "11574": {"rate": 11_574, **STATS},
    "half": {"rate": 100_000, **STATS},
    "maximum": POINT,
    "floor": {"confluent": {"5000": {"rate": 5000, **STATS}}, "aiokafka": {"5000": {"rate": 5000, **STATS}}},
}
SWEEP: dict[str, Any] = {
    "chunk": 4000,
    "chunk_streams": 1000,
    "streams": [{"streams": 10, **POINT}, {"streams": 1000, **POINT}],
    "chunks": [{"chunk": 100, **POINT}, {"chunk": 4000, **POINT}],
}
RESULTS: dict[str, Any] = {
    "started": "2026-01-01 00:00 UTC",
    "seconds": 600.0,
    "full": False,
    "machine": {"cpu": "a processor", "cores": 2, "memory_gib": 8.0, "system": "Linux", "load_1m_before": 0.1},
    "versions": {"python": "3.11"},
    "limits": ["a limit"],
    "failed": {"replay": "no file"},
    "parts": {"latency": LATENCY, "sweep": SWEEP, "replay": {"error": "no file"}},
}


# Figures and tables.


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (1234567.8, "1,234,568"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123"), (4096, "4,096")],
)
def test_a_cell_shows_the_digits_that_count(value: object, shown: str) -> None:
    assert figure(value) == shown


def test_a_table_has_text_on_the_left_and_figures_on_the_right() -> None:
    assert markdown(("what", "rate"), [("a", 1000)]) == "| what | rate |\n| --- | ---: |\n| a | 1,000 |"


def test_a_path_that_a_report_does_not_have_is_none() -> None:
    assert at({"a": {"b": 1}}, "a", "b") == 1
    assert at({"a": {"b": 1}}, "a", "c", "d") is None
    assert at(None, "a") is None


def test_the_table_of_all_parts_leaves_out_what_was_not_measured() -> None:
    shown = summary_table(RESULTS["parts"])

    assert "| latency p50 at 20/s | 3.00 | ms | p99 9.00, max 20.0; 0.5 cores |" in shown
    assert "half of the maximum, 100,000/s" in shown
    assert "replay" not in shown
    assert "None" not in shown


def test_every_workload_of_the_pipeline_has_rows_and_its_ratios() -> None:
    peers = {
        name: {"median": rate, "min": rate, "max": rate} for name, rate in (("caststream_1", 200.0), ("faust", 4.0))
    }
    even = {"peers": peers, "ratios": {"faust": 50.0}}
    uneven = {"peers": {"caststream_1": peers["caststream_1"]}, "ratios": {}}

    shown = summary_table({"pipeline": {**even, "workloads": {"even": even, "uneven": uneven}}})

    assert "| throughput, faust | 4.00 | samples/s | 4.00 to 4.00; caststream_1 is 50.00 times as fast |" in shown
    assert "| throughput, caststream_1, uneven | 200 |" in shown


def test_replay_and_start_up_have_their_medians_with_the_spread_of_their_runs() -> None:
    runs = [{"rate": 3e5, "wall_s": 2.0}, {"rate": 4e5, "wall_s": 4.0}]
    replay = {"rates": {"signals_20": 3.5e5}, "runs": {"signals_20": runs}, "peak_mib": {"signals_20": 120.0}}
    pace = {"p50_ms": 0.5, "p99_ms": 2.0, "within_5_ms": 0.999}

    shown = summary_table(
        {
            "replay": replay | {"pace": pace},
            "startup": {"medians_s": {"worker_ready": 3.0}, "runs": {"worker_ready": runs}},
        }
    )

    remark = "300,000 to 400,000; 120 MiB at most"
    assert f"| replay at full speed, 20 signal streams | 350,000 | samples/s | {remark} |" in shown
    assert "| lateness p99 of a replay at its own pace | 2.00 | ms | p50 0.5; 99.9 % within 5 ms |" in shown
    assert "| worker ready, the broker running | 3.00 | s | 2.00 to 4.00 |" in shown


def test_a_billion_a_day_is_the_steady_load_or_the_price_of_full_batches() -> None:
    found = billion_a_day(RESULTS["parts"])

    assert found is not None
    assert found["worker_cores"] == pytest.approx(0.5, rel=1e-4)
    assert found["worker_cores_full_batches"] == pytest.approx(11_574 * 6e-6, rel=1e-4)
    assert billion_a_day({}) is None


# The runner.


def test_a_part_s_report_is_the_last_line_that_it_printed() -> None:
    assert read_report('noise\n{"a": 1}\n', 0, "done") == {"a": 1}


@pytest.mark.parametrize(
    ("printed", "last", "said"), [("", "error: no broker", "error: no broker"), ("x", "", "status 3")]
)
def test_a_part_without_a_report_is_told_with_its_last_line(printed: str, last: str, said: str) -> None:
    assert said in read_report(printed, 3, last)["error"]


def test_a_part_that_missed_a_limit_of_its_own_keeps_its_report() -> None:
    assert read_report('{"a": 1}', 1, "too slow") == {"a": 1, "error": "ended with status 1: too slow"}


def test_a_part_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_all, "HERE", tmp_path)
    (tmp_path / "hangs.py").write_text("import threading; threading.Event().wait()")

    found = run_part(Part("hangs", "hangs.py", limit_s=0.2), full=False)

    assert found["error"] == "not done within 0.2 s"


def test_every_part_s_script_takes_its_brief_options() -> None:
    there = [part for part in bench_all.PARTS if (ROOT / "benchmarks" / part.script).exists()]

    for part in there:
        text = (ROOT / "benchmarks" / part.script).read_text() + (ROOT / "benchmarks" / "reporting.py").read_text()
        assert all(f'"{option}"' in text for option in (*part.quick, "--json") if option.startswith("--"))
    assert len({part.name for part in bench_all.PARTS}) == len(bench_all.PARTS)


def test_a_failed_part_makes_the_status_one_and_loses_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_text("import sys; print('half way', file=sys.stderr); print('{\"medians_s\": {}}')")
    (tmp_path / "bad.py").write_text("import sys; sys.exit('error: no such thing')")
    monkeypatch.setattr(bench_all, "HERE", tmp_path)
    monkeypatch.setattr(bench_all, "PARTS", (Part("replay", "bad.py", 60), Part("startup", "good.py", 60)))
    monkeypatch.setattr(sys, "argv", ["bench_all.py", "--results", str(tmp_path / "results")])

    status = bench_all.main()

    stored = json.loads((tmp_path / "results" / "latest.json").read_text())
    printed, progress = capsys.readouterr()
    assert status == 1
    assert stored["failed"] == {"replay": "error: no such thing"}
    assert stored["parts"]["startup"]["medians_s"] == {}
    assert {"machine", "versions", "limits", "started"} <= stored.keys()
    assert "**replay failed:** error: no such thing" in printed
    assert printed == (tmp_path / "results" / "latest.md").read_text() + "\n"
    assert "startup: half way" in progress


def test_results_say_where_they_come_from_and_what_they_do_not_say(tmp_path: Path) -> None:
    text = as_markdown(RESULTS)
    write_results(RESULTS, text, tmp_path)

    assert json.loads((tmp_path / "latest.json").read_text()) == RESULTS
    assert all(part in text for part in ("a processor, 2 cores", "python 3.11", "- a limit", "quick run"))


def test_a_run_of_all_benchmarks_keeps_what_a_soak_has_found(tmp_path: Path) -> None:
    worker = {
        "verdicts": [{"name": "threads", "flat": True}],
        "columns": {"threads": [1, 1]},
        "by_minute": {"at_s": [60]},
    }
    store("soak", {"workers": [worker], "failures": []}, tmp_path)
    write_results(RESULTS, "", tmp_path)

    kept = json.loads((tmp_path / "latest.json").read_text())

    soak = {"workers": [{"verdicts": worker["verdicts"]}], "failures": []}
    assert kept == RESULTS | {"reliability": {"soak": soak}}


def test_series_are_stored_apart_and_drawn_from_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    looks = {"at_s": [0.0, 1.0], "rss_bytes": [6e8, 6e8]}
    rates = {"at_s": [1.0, 2.0], "in_per_s": [9.0, 9.0], "out_per_s": [3.0, 3.0], "waiting": [6.0, 12.0]}
    write_results(RESULTS, "", tmp_path)

    assert redraw(tmp_path, tmp_path) == []
    store("overload", {"overload": {"times": 3.0, "rates": rates, "columns": looks}}, tmp_path)
    drawn = redraw(tmp_path, tmp_path)

    assert drawn == [tmp_path / "reliability-overload.png"]
    assert drawn[0].stat().st_size > 5_000
    stored = json.loads((tmp_path / "latest.json").read_text())
    assert stored == RESULTS | {"reliability": {"overload": {"overload": {"times": 3.0}}}}


def test_the_repository_has_figures_of_every_long_run_and_no_series() -> None:
    latest = json.loads((ROOT / "benchmarks" / "results" / "latest.json").read_text())
    found = latest["reliability"]

    assert found.keys() == {"soak", "overload", "failover"}
    assert all(report["machine"] and report["started"] and report["failures"] == [] for report in found.values())
    assert '"at_s"' not in json.dumps(found)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_has_a_script_that_knows_its_options(
    part: Part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module(Path(part.script).stem)
    monkeypatch.setattr(sys, "argv", [part.script, "--json", *part.words, *part.quick, "--no-such-option"])

    with pytest.raises(SystemExit):
        script.main()

    assert "error: unrecognized arguments: --no-such-option" in capsys.readouterr().err


def test_scripts_need_no_repository_on_the_path() -> None:
    for path in (ROOT / "benchmarks").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) benchmarks\b", path.read_text(), re.MULTILINE), path


# The check of ratios.


def test_a_ratio_may_fall_by_a_quarter_and_no_more() -> None:
    found = compare({"faust": 40.0, "quix": 40.0, "loop": 0.8}, {"faust": 30.1, "quix": 29.9, "loop": 0.9, "new": 1.0})

    assert {each.peer: each.fell for each in found} == {"faust": False, "quix": True, "loop": False}


def test_a_peer_that_is_gone_has_fallen() -> None:
    assert compare({"faust": 40.0}, {})[0].fell


def test_a_second_worker_that_gains_more_is_no_loss_and_one_that_gains_less_is() -> None:
    better, worse = (compare({"caststream_2": 0.8}, {"caststream_2": ratio})[0] for ratio in (0.5, 1.1))

    assert (better.fell, worse.fell) == (False, True)


def test_stored_results_that_are_missing_are_told_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="`make bench` makes it"):
        stored_ratios(tmp_path / "none.json")
    (tmp_path / "empty.json").write_text('{"parts": {"pipeline": {"error": "failed"}}}')
    with pytest.raises(SystemExit, match="holds no ratios"):
        stored_ratios(tmp_path / "empty.json")


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "status"), [(40.0, 0), (10.0, 1)])
def test_the_check_s_exit_status_is_its_verdict(tmp_path: Path, ratio: float, status: int) -> None:
    stored, fresh = tmp_path / "stored.json", tmp_path / "fresh.json"
    stored.write_text(json.dumps({"parts": {"pipeline": {"ratios": {"faust": 40.0}}}}))
    fresh.write_text(json.dumps({"ratios": {"faust": ratio}}))

    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "bench_all.py", "--check", "--against", stored, "--fresh", fresh],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status
    assert ("FELL" in done.stdout) == ("the ratio was 40.0 and is 10.0" in done.stderr) == bool(status)


# The page.


def test_a_block_of_the_page_is_replaced_and_all_else_stays() -> None:
    text = "before\n<!-- figures: a -->\nold\nolder\n<!-- end of figures -->\nafter <!-- other -->\n"

    once = fill(text, {"a": lambda: "| new |"})

    assert once == "before\n<!-- figures: a -->\n| new |\n<!-- end of figures -->\nafter <!-- other -->\n"
    assert fill(once, {"a": lambda: "| new |"}) == once


def test_every_block_of_the_page_can_be_filled() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    names = [name for _, name, _ in BLOCK.findall(page)]

    filled = fill(page, blocks_of(RESULTS))

    assert len(names) == page.count("<!-- figures:") == page.count("<!-- end of figures -->")
    assert set(names) == blocks_of(RESULTS).keys()
    assert "| chunks of up to 4,000 | 200,000 | 190,000 to 210,000 |" in filled
    assert NOT_YET in filled


@pytest.mark.slow
def test_plots_are_drawn_of_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    everything = write_plots(RESULTS["parts"], tmp_path)
    names = {path.name for path in everything}

    assert names == {f"performance-{name}.png" for name in ("throughput", "latency", "stages", "where-time-goes")}
    assert all(5_000 < path.stat().st_size < 200_000 for path in everything)
    assert "](images/performance-latency.png)" in blocks_of(RESULTS, names)["plot_latency"]()
    assert write_plots({}, tmp_path) == []
