"""The benchmark of crashes counts what went wrong, and peers in Java are compiled, pinned, or left out with a word."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import bench_all
import numpy as np
import peers
import pytest
from bench_crash import DEFAULT_PEERS, _names, counts, table
from bench_low_load import plan_of
from peers import PEERS, java
from workload import UNKNOWN, Outputs

from core.errors import StartupError
from stream_app.local import jars
from stream_app.local.jars import pinned_jars
from stream_app.settings import Settings

pytestmark = pytest.mark.slow

NAN = float("nan")
WHOLE = np.array([[0.0, 0.1, 0.2], [1.0, 1.1, NAN]], np.float32)
RIGHT = {(0, 0): 0.0, (0, 1): 0.1, (0, 2): 0.2, (1, 0): 1.0, (1, 1): 1.1}


def outputs(*found: tuple[int, int, float]) -> Outputs:
    """Of (stream, step, prediction)."""
    streams, steps, predictions = zip(*found, strict=True)
    count = np.arange(len(found))
    return Outputs(np.array(streams, np.int32), np.array(steps), np.array(predictions, np.float64), count)


def right() -> list[tuple[int, int, float]]:
    return [(*cell, value) for cell, value in RIGHT.items()]


def options(**changes: Any) -> argparse.Namespace:
    plain = dict.fromkeys(("peers", "loads", "runs", "seconds", "against"))
    return argparse.Namespace(**plain | {"quick": False, "seed": 1} | changes)


def no_javac(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(home))


# Counts.


def test_right_outputs_of_all_samples_leave_nothing_to_count() -> None:
    found = counts(outputs(*right()), WHOLE, 1e-5)

    assert found == {
        "samples": 5,
        "outputs": 5,
        "wrong": 0,
        "lost": 0,
        "repeated": 0,
        "streams_wrong": 0,
        "wrong_to_the_end": 0,
    }


def test_an_output_that_comes_again_is_repeated_and_wrong_only_where_it_differs() -> None:
    found = counts(outputs(*right(), (0, 1, 0.1), (1, 1, 1.2)), WHOLE, 1e-5)

    assert (found["repeated"], found["wrong"], found["streams_wrong"], found["lost"]) == (2, 1, 1, 0)


def test_a_sample_without_an_output_is_lost_and_others_do_not_stand_in_for_it() -> None:
    found = counts(outputs(*right()[1:], (0, 1, 0.1)), WHOLE, 1e-5)

    assert (found["lost"], found["repeated"], found["wrong"]) == (1, 1, 0)


@pytest.mark.parametrize("strange", [(UNKNOWN, 0, 0.0), (0, 3, 0.0), (1, 2, 0.0), (0, -1, 0.0), (0, 0, NAN)])
def test_an_output_of_no_sample_or_without_a_number_is_wrong(strange: tuple[int, int, float]) -> None:
    assert counts(outputs(*right(), strange), WHOLE, 1e-5)["wrong"] == 1


def test_a_stream_is_wrong_to_the_end_where_its_last_output_is() -> None:
    recovered = [(0, 0, 0.0), (0, 1, 9.0), (0, 2, 0.2), (1, 0, 1.0), (1, 1, 1.5)]

    found = counts(outputs(*recovered), WHOLE, 1e-5)

    assert (found["wrong"], found["streams_wrong"], found["wrong_to_the_end"]) == (2, 2, 1)


def test_the_table_has_a_row_for_every_peer() -> None:
    found = counts(outputs(*right()), WHOLE, 1e-5) | {"kills": 3}

    assert "| loop | 3 | 5 | 0 | 0 | 0 | 0 | 0 |" in table({"peers": {"loop": found}})


def test_a_peer_may_have_transactions_and_must_be_one_that_there_is() -> None:
    assert _names(options(peers="loop,kafka_streams_1_exactly_once"), print) == ["loop", "kafka_streams_1_exactly_once"]
    with pytest.raises(StartupError, match="flink: no such peer"):
        _names(options(peers="flink"), print)


# Peers in Java.


def test_without_a_jdk_the_peers_in_java_are_left_out_with_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_javac(monkeypatch, tmp_path)
    said: list[str] = []

    assert _names(options(), said.append) == ["caststream_1"]
    assert said == [f"left out: {', '.join(DEFAULT_PEERS[1:])}: no JDK (javac) was found"]
    assert peers.without_jdk(PEERS) == ["kafka_streams_1", "kafka_streams_gathered"]
    assert peers.without_jdk(["loop"]) == []


def test_a_peer_in_java_that_was_asked_for_is_refused_without_a_jdk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_javac(monkeypatch, tmp_path)
    monkeypatch.setattr(java, "built", java.built.__wrapped__)

    with pytest.raises(StartupError, match=r"need a JDK 17 or newer \(javac\), for the benchmark alone"):
        java.built()
    assert "kafka_streams_1" in plan_of(options(peers="kafka_streams_1")).peers


@pytest.mark.parametrize(
    ("guarantee", "its_own"), [("at_least_once", "at_least_once"), ("exactly_once", "exactly_once_v2")]
)
def test_a_peer_in_java_has_the_guarantee_of_the_settings_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, guarantee: str, its_own: str
) -> None:
    monkeypatch.setattr(java, "built", lambda: java.Built(["java"], Path("signal.onnx"), "599257fda5be"))
    monkeypatch.setattr(peers, "_names", lambda *_: {"BENCH_APP_ID": "bench", "BENCH_OUTPUT": "output"})

    peer = peers.kafka_streams_1(Settings(processing_guarantee=guarantee), "1")

    assert peer.environment["BENCH_GUARANTEE"] == its_own


@pytest.mark.parametrize(("said", "fits"), [("javac 17.0.15", True), ("javac 11.0.2", False), ("no such thing", False)])
def test_a_compiler_must_be_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, fits: bool) -> None:
    compiler = tmp_path / "bin" / "javac"
    compiler.parent.mkdir()
    compiler.write_text(f"#!/bin/sh\necho {said}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert (java.find_javac() is not None) == fits


def test_a_ratio_to_a_peer_that_was_left_out_has_not_fallen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratios = {"faust": 40.0, "kafka_streams_1": 15.0}
    (tmp_path / "stored.json").write_text(f'{{"parts": {{"pipeline": {{"ratios": {ratios}}}}}}}'.replace("'", '"'))
    (tmp_path / "fresh.json").write_text('{"ratios": {"faust": 40.0}, "left_out": ["kafka_streams_1"]}')

    assert bench_all.check(tmp_path / "stored.json", tmp_path / "fresh.json") == 0
    assert "kafka_streams_1" not in capsys.readouterr().out


def test_the_jars_are_pinned_with_their_sums_and_the_broker_s_version() -> None:
    pinned = {jar.artifact: jar for jar in pinned_jars(java.JARS)}

    assert {"kafka-streams", "rocksdbjni", "onnxruntime"} <= pinned.keys()
    assert all(len(jar.sha256) == 64 for jar in pinned.values())
    assert pinned["kafka-streams"].version == pinned["kafka-clients"].version == jars.KAFKA_VERSION


@pytest.mark.skipif(
    not (java.FOLDER / "jars").exists(), reason="the jars are for `make bench` only, which fetches them"
)
def test_source_that_cannot_be_compiled_is_told_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if (javac := java.find_javac()) is None:
        pytest.skip("no JDK")
    sources = tmp_path / "streams"
    sources.mkdir()
    shutil.copy(java.JARS, sources)
    (sources / "Main.java").write_text("final class Main { int x = ; }")
    for name, value in (("SOURCES", sources), ("JARS", sources / "jars.txt"), ("FOLDER", tmp_path)):
        monkeypatch.setattr(java, name, value)

    with pytest.raises(StartupError, match=r"cannot be compiled by .*javac: .*illegal start of expression"):
        java._compiled(javac, [])
    assert not list(tmp_path.glob("classes-*[!w]"))
