"""The two tasks that ship are declared exactly as the code has them: nobody has two truths."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from core.data.csv.casts import CastImport
from core.data.csv.signals import SignalImport
from core.engines.windows import WindowRules
from core.models.shipped import checkpoint_path
from core.tasks import Task
from core.tasks.keys import Key, RuleKeys, keys_of
from core.tasks.reading import SHIPPED, shipped
from core.wire import records
from core.wire.record_limits import MAX_VALUE
from stream_app import routes
from stream_app.settings import Settings, accepted


def test_every_shipped_task_is_declared() -> None:
    assert get_args(Task) == SHIPPED
    assert [shipped(name).name for name in SHIPPED] == list(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_topics_and_tables_are_those_of_the_broker(name: str) -> None:
    topics = shipped(name).topics
    made = routes.routes(Settings())[name]

    assert (topics.source, topics.output, f"caststream-{topics.table}-changelog") == (
        made.source,
        made.output,
        made.changelog,
    )


@pytest.mark.parametrize(("name", "sample"), [("signal", records.SignalSample), ("casting", records.CastingSample)])
def test_fields_are_those_of_a_sample_in_order(name: str, sample: type) -> None:
    task = shipped(name)
    optional = ("sequence", "step", "timestamp_ms", "end")

    assert [field.name for field in task.fields] == [each for each in sample.__struct_fields__ if each not in optional]
    assert task.width == 5
    assert {(field.low, field.high) for field in task.fields} == {(-MAX_VALUE, MAX_VALUE)}
    assert [field.length for field in task.fields if field.length] == ([4] if name == "signal" else [])


def test_columns_are_those_of_csv_files_and_casts_have_units() -> None:
    signal, casting = shipped("signal"), shipped("casting")

    assert [field.unit for field in casting.fields] == ["m/min", "°C", "mm", "L/min", "°C"]
    assert casting.columns == CastImport.columns.numbers == records.SENSORS
    assert signal.columns == SignalImport.columns.numbers
    assert signal.fields[1].columns == ("c1", "c2", "c3", "c4")


@pytest.mark.parametrize(("name", "output"), [("signal", records.Prediction), ("casting", records.Score)])
def test_outputs_are_those_of_a_record_in_order(name: str, output: type) -> None:
    around = ("stream", "sequence", "step", "start", "length", "timestamp_ms", "final", "reason", "model", "gap")

    assert [each.name for each in shipped(name).outputs] == [
        each for each in output.__struct_fields__ if each not in around
    ]


def test_windows_are_cut_as_by_default() -> None:
    window, rules, settings = shipped("casting").window, WindowRules(), Settings()

    assert shipped("signal").window is None
    assert window is not None
    assert (window.length, window.first, window.hop) == (rules.window_length, rules.window_min, rules.hop)
    assert (window.length, window.first, window.hop) == (settings.window_length, settings.window_min, settings.hop)


@pytest.mark.parametrize(("name", "kind"), [("signal", "signal"), ("casting", "defect")])
def test_the_model_is_the_checkpoint_that_ships(name: str, kind: str) -> None:
    assert shipped(name).model.file.samefile(checkpoint_path(kind))


@pytest.mark.parametrize("key", [*keys_of(RuleKeys)], ids=lambda key: key.name)
def test_a_rule_of_a_task_accepts_what_the_setting_of_its_name_accepts(key: Key) -> None:
    numbers = re.findall(r"\d[\d.,^-]*", key.accepted.replace(",", "").replace("2^53-1", str(2**53 - 1)))
    of_setting = re.findall(r"\d[\d.]*", accepted(key.name))

    assert [float(each) for each in numbers] == [float(each) for each in of_setting]
    assert ("hold" in key.accepted) == ("hold" in accepted(key.name))
