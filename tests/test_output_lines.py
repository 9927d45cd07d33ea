"""Outputs of any task as lines to read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RunError
from core.tasks.declaration import Declaration
from core.tasks.reading import declare
from stream_app.cli.output_lines import line_writer
from stream_app.cli.tail import tail
from stream_app.clients import asking

OUTPUTS = {
    "forecast": {"tensor": "y", "names": ["de", "nde"], "unit": "mm/s"},
    "score": {"of": "forecast", "apply": "forecast_error"},
    "alarm": {"of": "score", "apply": "above", "threshold": 1.0},
}
HEAD = {"stream": "pump-3", "sequence": "", "step": 4, "timestamp_ms": 1_700_000_000_017}
SHOWN = "2023-11-14 22:13:20.017  pump-3  -  step 4"


def task_of(outputs: dict[str, Any], kind: str = "step") -> Declaration:
    values = {"name": "pump", "kind": kind, "fields": {"x": {}}, "model": {"file": "pump.onnx"}, "outputs": outputs}
    return declare(Path("pump.toml"), values, need_files=False)


def test_every_output_stands_under_its_name_with_its_unit() -> None:
    line = line_writer(task_of(OUTPUTS))

    first = line(HEAD | {"forecast": {"de": 0.12, "nde": -3e-7}, "score": None, "alarm": False, "model": "m"})
    later = line(HEAD | {"forecast": {"de": 1e7, "nde": 0}, "score": 0.25, "alarm": True, "model": "m", "gap": 2})

    assert first == f"{SHOWN}  forecast de 0.1200 nde -3e-07 mm/s  score none  alarm false"
    assert later == f"{SHOWN}  forecast de 1e+07 nde 0 mm/s  score 0.2500  alarm true  gap 2"


def test_a_window_tells_its_steps_and_why_it_has_no_outputs() -> None:
    line = line_writer(task_of({"gesture": {"apply": "label", "labels": ["walk", "run"]}}, "window"))
    window = HEAD | {"sequence": "a", "start": 2, "length": 3}

    assert line(window | {"gesture": "walk", "final": False}) == (
        "2023-11-14 22:13:20.017  pump-3  a  step 4  window [2, 5)  gesture walk"
    )
    assert line(window | {"gesture": None, "final": True, "reason": "too_short"}).endswith(
        "window [2, 5)  no gesture: too_short  final"
    )


def test_of_many_numbers_the_first_are_shown() -> None:
    line = line_writer(task_of({"y": {}}))

    assert line(HEAD | {"y": [0.5] * 3}).endswith("  y [0.5000, 0.5000, 0.5000]")
    assert line(HEAD | {"y": [0.5] * 300}).endswith("0.5000, ... (300 numbers)]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=5), held, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*HEAD, *OUTPUTS, "start", "length", "final", "gap", "reason", "other"])


@given(st.dictionaries(NAMES, JSON, max_size=9), st.booleans(), st.sampled_from(["step", "window"]))
def test_whatever_stands_in_an_output_makes_one_line(output: dict[str, Any], whole: bool, kind: str) -> None:
    outputs = {"forecast": {}, "score": {}} if kind == "window" else OUTPUTS

    line = line_writer(task_of(outputs, kind))((HEAD | output) if whole else output)

    assert line
    assert all(each.isprintable() for each in line)


def test_a_broker_that_is_waited_for_is_named_and_what_to_do_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "WAIT_TOLD_S", 0.0)
    told: list[str] = []

    with pytest.raises(RunError, match=r"start one with: caststream broker, or name yours with --broker"):
        tail(
            "scores",
            client_config={"bootstrap.servers": "127.0.0.1:1"},
            topic="t",
            out=io.StringIO(),
            timeout_s=1.5,
            on_wait=told.append,
        )

    assert told == ["waiting for the Kafka broker at 127.0.0.1:1"]


def test_an_output_that_is_not_published_has_no_place_in_the_line() -> None:
    forecast = {"apply": "forecast", "names": ["x"], "publish": False}
    line = line_writer(task_of({"forecast": forecast, "surprise": {"of": "forecast", "apply": "surprise"}}))

    assert line(HEAD | {"surprise": 1.5, "model": "m"}) == f"{SHOWN}  surprise 1.5000"
