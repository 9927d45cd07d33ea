"""The setting ``tasks``: the names on the broker, the rules and the engines that follow from it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.audit.scope import Scope
from core.engines.results import ChunkResult
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.engines.steps import StepEngine
from core.errors import RecordError, StartupError
from core.tasks.fingerprint import fingerprint_of
from core.wire.samples import sample_decoder
from stream_app.exits import EXIT_REFUSED
from stream_app.flow.metrics import Metrics
from stream_app.flow.task_metrics import TaskMetrics
from stream_app.routes import ROUTES, route_of, routes
from stream_app.rules import idle_timeout, stream_rules, window_rules
from stream_app.settings import Settings, load_settings
from stream_app.topics.permissions import worker_needs
from stream_app.topics.plans import create_command, planned_topics
from stream_app.verify.audits import audit_makers
from stream_app.worker.agents import add_agents
from stream_app.worker.build import build_app
from tests.own_tasks import LIKE_CASTING, OTHER, write_task

Tasks = Callable[..., Settings]


def onnx_models() -> Any:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests import onnx_models as models

    return models


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    """`tasks(text, **changes)`: settings with these tasks."""

    def make(text: str | Path, **changes: object) -> Settings:
        return load_settings(tasks=str(text), data_dir=tmp_path, **changes)

    return make


def test_the_two_that_ship_run_by_default_and_keep_their_names() -> None:
    found = routes(Settings())

    assert {route.source: (route.output, route.declaration.topics.table) for route in found.values()} == ROUTES
    assert list(found) == ["signal", "casting"]


def test_everything_on_the_broker_follows_from_the_tasks(tasks: Tasks, tmp_path: Path) -> None:
    file = write_task(tmp_path, "press", file="there-is-none.pt")

    settings = tasks(f"signal, {file}", topic_prefix="plant-", app_id="app")

    names = {plan.name for plan in planned_topics(settings)}
    assert names == {
        *("plant-signal-samples", "plant-signal-predictions", "app-signal-states-changelog"),
        *("plant-press-samples", "plant-press-outputs", "app-press-states-changelog"),
        "plant-dead-letters",
    }
    assert worker_needs(settings).keys() == names
    assert f"--tasks signal,{file}" in create_command(settings)


def test_a_task_that_is_not_in_the_setting_still_has_its_route(tasks: Tasks) -> None:
    (casting,) = routes(tasks("casting")).values()

    assert route_of(tasks("signal"), casting.declaration) == casting


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sginal", "setting tasks: there is no task 'sginal'; did you mean 'signal'?"),
        ("signal,press", "setting tasks: there is no task 'press'"),
        ("signal,nowhere.toml", "setting tasks: nowhere.toml: there is no such task file"),
        ("signal,signal", "setting tasks: 'signal,signal' is not accepted"),
        ("signal,,casting", "setting tasks: 'signal,,casting' is not accepted"),
        (",", "setting tasks: ',' is not accepted"),
    ],
)
def test_a_setting_that_names_no_tasks_is_refused(tasks: Tasks, text: str, words: str) -> None:
    with pytest.raises(StartupError) as raised:
        routes(tasks(text))

    assert str(raised.value).startswith(words)


def test_tasks_that_share_a_topic_do_not_run_together(tasks: Tasks, tmp_path: Path) -> None:
    file = write_task(tmp_path, "press", more='[topics]\nsource = "signal-samples"\n')

    with pytest.raises(StartupError, match="'signal' and 'press' share the source 'signal-samples'"):
        routes(tasks(f"signal,{file}"))


def test_a_file_that_changes_changes_nothing_in_a_running_worker(tasks: Tasks, tmp_path: Path) -> None:
    settings = tasks(file := write_task(tmp_path, "press"))
    before = routes(settings)

    file.unlink()

    assert routes(settings) == before
    with pytest.raises(StartupError, match="there is no such task file"):
        routes(settings.replace(app_id="another"))


def test_files_are_relative_to_where_the_command_runs_and_may_begin_at_home(
    tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path, "press")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert list(routes(tasks("press.toml"))) == ["press"]
    assert tasks("~/press.toml").tasks == str(tmp_path / "press.toml")


def test_rules_of_a_task_win_over_the_settings_and_the_others_hold(tasks: Tasks, tmp_path: Path) -> None:
    file = write_task(tmp_path, "press", more='[rules]\ngap_policy = "hold"\nidle_timeout = 7.5\n')
    settings = tasks(f"signal,{file}", gap_policy="reset", max_gap="9", idle_timeout="60")
    signal, press = settings.declarations()

    assert (stream_rules(settings, press).gap_policy, stream_rules(settings, signal).gap_policy) == ("hold", "reset")
    assert (idle_timeout(settings, press), idle_timeout(settings, signal)) == (7.5, 60)
    assert stream_rules(settings, press).idle_timeout_ms == 7_500
    assert stream_rules(settings, press).max_gap == stream_rules(settings, signal).max_gap == 9


def test_settings_of_windows_are_those_of_casts_alone(tasks: Tasks, tmp_path: Path) -> None:
    file = write_task(tmp_path, "mill", LIKE_CASTING, more="[window]\nlength = 200\nfirst = 20\nhop = 5\n")
    settings = tasks(f"casting,{file}", window_length="300", window_min="30", hop="7")
    found = [window_rules(settings, task) for task in settings.declarations()]

    assert [(rules.window_length, rules.window_min, rules.hop) for rules in found] == [(300, 30, 7), (200, 20, 5)]


def test_each_task_has_a_table_a_pipeline_and_an_agent(tasks: Tasks, tmp_path: Path) -> None:
    press, mill = write_task(tmp_path, "press"), write_task(tmp_path, "mill", LIKE_CASTING)
    app = build_app(tasks(f"signal,casting,{press},{mill}", topic_prefix="plant-"))
    add_agents(app)

    assert [pipeline.table for pipeline in app.pipelines] == list(app.tables)
    assert list(app.tables) == ["signal-states", "casting-windows", "press-states", "mill-states"]
    assert list(app.agents) == ["step_signals", "score_castings", "step.press", "score.mill"]
    assert [type(pipeline.engine) for pipeline in app.pipelines] == [SignalStepper, CastScorer, StepEngine, CastScorer]
    assert [agent.channel.get_topic_name() for agent in app.agents.values()] == [
        *("plant-signal-samples", "plant-casting-samples", "plant-press-samples", "plant-mill-samples")
    ]


def test_a_worker_and_the_audit_name_the_weights_that_are_missing(tasks: Tasks, tmp_path: Path) -> None:
    settings = tasks(write_task(tmp_path, "press", file="gone.pt"))

    for start in (build_app, audit_makers):
        with pytest.raises(StartupError, match=r"gone.pt.*no such file"):
            start(settings)


def test_weights_that_do_not_fit_the_fields_are_refused_by_name(tasks: Tasks, tmp_path: Path) -> None:
    text = write_task(tmp_path, "mill", LIKE_CASTING).read_text().replace('mold_level = { unit = "mm" }\n', "")
    (tmp_path / "mill.toml").write_text(text)

    with pytest.raises(StartupError, match=r"mill.safetensors: its LSTM takes 5 numbers, the task's fields give 4"):
        build_app(tasks(tmp_path / "mill.toml"))


def test_a_window_task_of_an_onnx_model_is_checked_and_gets_its_engine(tasks: Tasks, tmp_path: Path) -> None:
    models = onnx_models()
    from tests.motion import write_motion

    settings = tasks(write_motion(tmp_path, mixed=True))
    with pytest.raises(StartupError, match=r"motion.onnx: the outputs of a window change by"):
        build_app(settings)
    (tmp_path / "motion.onnx").write_bytes(models.window_classifier(features=6))

    (pipeline,) = build_app(settings).pipelines

    assert type(pipeline.engine).__name__ == "WindowEngine"
    assert list((tmp_path / "checks").iterdir()), "the next start need not check again"


def test_a_task_of_an_onnx_model_is_checked_and_gets_its_engine(tasks: Tasks, tmp_path: Path) -> None:
    models = onnx_models()
    settings = tasks(write_task(tmp_path, "pump", OTHER, file="pump.onnx"))
    with pytest.raises(StartupError, match=r"pump.onnx"):
        build_app(settings)
    (tmp_path / "pump.onnx").write_bytes(models.gru())

    app = build_app(settings)

    (pipeline,) = app.pipelines
    assert type(pipeline.engine).__name__ == "StepEngine"
    assert list((tmp_path / "checks").iterdir()), "the next start need not check again"
    audit = audit_makers(settings)["pump"](Scope())
    (task,) = settings.declarations()
    assert audit.fingerprint == fingerprint_of(task, models.gru())


def test_what_a_task_declares_as_normal_has_a_counter_of_its_own(tasks: Tasks, tmp_path: Path) -> None:
    (route,) = routes(tasks(write_task(tmp_path, "pump", OTHER, file="pump.onnx"))).values()
    metrics, result = Metrics(), ChunkResult()
    result.counts.outside("vibration", 4)
    result.counts.hold("vibration", 2)

    TaskMetrics(metrics, route).count(result)

    text = metrics.exposition().decode()
    assert 'caststream_abnormal_total{field="vibration",task="pump"} 4.0' in text
    assert 'caststream_held_fields_total{field="vibration",task="pump"} 2.0' in text
    assert "caststream_out_of_training_range_total{" not in text


def test_samples_of_any_task_are_read_by_its_fields(tasks: Tasks, tmp_path: Path) -> None:
    (pump,) = tasks(write_task(tmp_path, "pump", OTHER, file="pump.onnx")).declarations()
    decode = sample_decoder(pump)

    assert decode(b'{"vibration": [1, true, 3], "step": 4}', None).vibration == (1, 1, 3)
    with pytest.raises(RecordError, match="vibration"):
        decode(b'{"vibration": [1, 2]}', None)


def test_every_series_of_a_task_has_its_name(tasks: Tasks, tmp_path: Path) -> None:
    press = write_task(tmp_path, "press")
    app = build_app(tasks(f"signal,{press}", topic_prefix="plant-"))
    result = ChunkResult()
    result.counts.gaps = 3
    result.counts.processed = 7

    app.pipelines[1].shown.count(result)
    app.metrics.acked("plant-press-outputs", np.zeros(2, np.int64))

    text = app.metrics.exposition().decode()
    assert 'caststream_gaps_total{task="press"} 3.0' in text
    assert 'caststream_gaps_total{task="signal"} 0.0' in text
    assert 'caststream_records_total{outcome="processed",task="press",topic="plant-press-samples"} 7.0' in text
    assert 'caststream_latency_seconds_count{task="press",topic="plant-press-outputs"} 2.0' in text
    assert re.search(r'caststream_model_info\{fingerprint="\w+",model="press",task="press"\} 1.0', text)
    assert re.search(r'caststream_model_info\{fingerprint="\w+",model="signal",task="signal"\} 1.0', text)


def test_a_worker_refuses_a_task_that_cannot_be_used_before_it_looks_for_a_broker(tmp_path: Path) -> None:
    settings = load_settings(broker="127.0.0.1:1", tasks="nowhere.toml", data_dir=tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "stream_app.worker.process"],
        env=settings.process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == EXIT_REFUSED
    assert "setting tasks: nowhere.toml: there is no such task file" in done.stderr
    assert "looking for the topics" not in done.stderr
