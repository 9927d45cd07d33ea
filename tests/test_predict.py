"""The offline reference: against single steps by hand, and record for record against the stream engines on a replay."""

import io
import math
from dataclasses import dataclass

import h5py
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.data.layout import open_castings, open_signals
from core.engines.infer import score_windows
from core.engines.results import StreamRules, WindowRules
from core.engines.scorer import CastScorer
from core.engines.stepper import SignalStepper
from core.errors import DataError, StartupError
from core.models.factory import load_model
from core.models.fingerprint import fingerprint
from core.models.shipped import checkpoint_path
from core.offline import predict as module
from core.offline.predict import cast_scores, predict, scores_due, signal_parts, signal_rows
from replay.run import replay
from tests.files import write_castings, write_signals
from tests.sinks import MemorySink

RULES = WindowRules(window_length=40, window_min=10, hop=7)
LENGTHS = [10, 9, 52, 17, 41, 1, 24]
RUN = "20231114T221320.000Z"


@pytest.fixture(scope="module")
def signal_model():
    return load_model(checkpoint_path("signal"), "signal")


@pytest.fixture(scope="module")
def defect_model():
    return load_model(checkpoint_path("defect"), "defect")


@dataclass(frozen=True)
class LogRecord:
    offset: int
    key: bytes
    value: bytes
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    headers: tuple = ()


class EmptyStore:
    def take(self, partition, key):
        return None

    def keys(self, partition):
        return []


def replayed(path, tmp_path, **options):
    """The records of a replay, as they would stand in one partition."""
    sink = MemorySink()
    given = {"client_config": {}, "topic_signal": "s", "topic_casting": "c", "data_dir": tmp_path, "speed": math.inf}
    replay(path, sink=sink, start_ms=1_700_000_000_000, **given | options)
    return [LogRecord(offset, key, value) for offset, (key, value) in enumerate(sink.records)]


def published(engine, records):
    return [msgspec.json.decode(value) for _, value, _, _ in engine.run(records).outputs[0]]


def predicted(path, **options):
    out = io.BytesIO()
    summary = predict(path, out, **options)
    lines = [msgspec.json.decode(line) for line in out.getvalue().splitlines()]
    assert len(lines) == summary.outputs
    return lines


def assert_same(found, expected, field):
    """Equal in every field; ``field`` within what a batch's shape moves."""

    def by_name(output):
        return output["stream"], output["sequence"], output["step"], output.get("final")

    assert len(found) == len(expected)
    for one, other in zip(sorted(found, key=by_name), sorted(expected, key=by_name), strict=True):
        assert one.pop(field) == pytest.approx(other.pop(field), abs=1e-6)
        assert one == other


def test_signals_equal_single_steps_by_hand(tmp_path, monkeypatch, signal_model):
    mixed = write_signals(tmp_path / "s.h5", rows=5, steps=60)
    with open_signals(tmp_path / "s.h5") as file:
        parts = list(signal_parts(file, signal_model))

    assert [(part.row, part.step) for part in parts] == [(row, 0) for row in range(5)]
    for row, part in enumerate(parts):
        state = None
        for step, value in enumerate(mixed[row]):
            x = torch.zeros(1, 1, 5)
            x[0, 0, 0] = float(value)
            x[0, 0, 1 + row % 4] = 1.0
            with torch.inference_mode():
                y, state = signal_model(x, state)
            assert part.predictions[step] == pytest.approx(y.item(), abs=1e-5)


@pytest.mark.parametrize("rows", [range(1, 4), range(2, 2)])
def test_some_rows_are_predicted_alone(tmp_path, signal_model, rows):
    write_signals(tmp_path / "s.h5", rows=5, steps=60)
    with open_signals(tmp_path / "s.h5") as file:
        whole = np.stack([part.predictions for part in signal_parts(file, signal_model)])
        found = signal_rows(file, signal_model, rows)

    np.testing.assert_allclose(found, whole[rows.start : rows.stop], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 25, 60, 130, 1000])
def test_the_size_of_a_batch_changes_nothing(tmp_path, monkeypatch, signal_model, batch):
    write_signals(tmp_path / "s.h5", rows=5, steps=60)
    with open_signals(tmp_path / "s.h5") as file:
        whole = np.stack([part.predictions for part in signal_parts(file, signal_model)])
        monkeypatch.setattr(module, "BATCH_SAMPLES", batch)

        found, places = np.zeros_like(whole), []
        for part in signal_parts(file, signal_model):
            places += [(part.row, part.step + index) for index in range(len(part.predictions))]
            found[part.row, part.step : part.step + len(part.predictions)] = part.predictions

    assert places == [(row, step) for row in range(5) for step in range(60)]
    assert np.abs(found - whole).max() <= 1e-5


@given(length=st.integers(1, 300), first=st.integers(1, 60), hop=st.integers(1, 40), window=st.integers(60, 100))
def test_scores_due_agree_with_counting_every_sample(length, first, hop, window):
    slow = []
    for count in range(1, length + 1):
        if count == length or (count >= first and (count - first) % hop == 0):
            slow.append((max(0, count - window), count, count == length))

    found = scores_due(3, length, WindowRules(window, first, hop))

    assert [(score.start, score.end, score.final) for score in found] == slow


@pytest.mark.parametrize("batch", [1, 4, 256])
def test_casts_are_scored_on_the_windows_that_end_at_each_step_due(tmp_path, monkeypatch, defect_model, batch):
    monkeypatch.setattr(module, "BATCH_WINDOWS", batch)
    casts = write_castings(tmp_path / "c.h5", LENGTHS)
    with open_castings(tmp_path / "c.h5") as file:
        scores = list(cast_scores(file, defect_model, RULES))

    assert [score.row for score in scores if score.final] == list(range(len(LENGTHS)))
    for score in scores:
        if LENGTHS[score.row] < RULES.window_min:
            assert (score.probability, score.attention_peak, score.final) == (None, None, True)
            continue
        (probability,), (peak,) = score_windows(defect_model, [casts[score.row][score.start : score.end]])
        assert score.probability == pytest.approx(probability, abs=1e-6)
        assert score.attention_peak == score.start + peak
    assert [score.end for score in scores if score.row == 2] == [10, 17, 24, 31, 38, 45, 52]


@pytest.mark.parametrize("streams", [None, 1, 2, 9])
def test_predictions_are_those_of_the_stream_engine_on_a_replay(tmp_path, signal_model, streams):
    write_signals(tmp_path / "s.h5", rows=5, steps=60)
    records = replayed(tmp_path / "s.h5", tmp_path, streams=streams)
    live = published(SignalStepper(signal_model, StreamRules(), EmptyStore()), records)

    offline = predicted(tmp_path / "s.h5", run=RUN, streams=streams)

    assert set(offline[0]) == {"stream", "sequence", "step", "timestamp_ms", "prediction", "model"}
    assert_same(offline, live, "prediction")


@pytest.mark.parametrize("streams", [None, 1, 3])
def test_scores_are_those_of_the_stream_engine_on_a_replay(tmp_path, defect_model, streams):
    write_castings(tmp_path / "c.h5", LENGTHS)
    records = replayed(tmp_path / "c.h5", tmp_path, streams=streams)
    live = published(CastScorer(defect_model, StreamRules(), RULES, EmptyStore()), records)

    offline = predicted(tmp_path / "c.h5", run=RUN, streams=streams, rules=RULES)

    assert_same(offline, live, "probability")


def test_a_pass_of_a_loop_is_a_run_of_its_own(tmp_path):
    write_signals(tmp_path / "s.h5", rows=3, steps=4)
    records = replayed(tmp_path / "s.h5", tmp_path, run="r", loop=True, stop=iter([False] * 2 + [True] * 9).__next__)

    names = {msgspec.json.decode(record.value)["sequence"] for record in records}

    assert {line["sequence"] for line in predicted(tmp_path / "s.h5", run="r-0")} <= names


def test_an_unnamed_run_is_called_offline_and_starts_at_zero(tmp_path):
    write_signals(tmp_path / "s.h5", rows=1, steps=3)

    lines = predicted(tmp_path / "s.h5")

    assert [(line["sequence"], line["timestamp_ms"]) for line in lines] == [("offline-0", step) for step in range(3)]
    assert [line["timestamp_ms"] for line in predicted(tmp_path / "s.h5", start_ms=5)] == [5, 6, 7]


def test_a_file_of_json_lines_appears_when_it_is_whole(tmp_path, monkeypatch):
    write_signals(tmp_path / "s.h5", rows=3, steps=50)
    out = tmp_path / "out.jsonl"

    predict(tmp_path / "s.h5", out)
    before = out.read_bytes()
    monkeypatch.setattr(module, "signal_parts", lambda file, model, survey: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(tmp_path / "s.h5", out)

    assert len(before.splitlines()) == 150
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "s.h5"]


def test_signals_as_hdf5_hold_the_same_numbers(tmp_path, signal_model):
    write_signals(tmp_path / "s.h5", rows=3, steps=50)

    predict(tmp_path / "s.h5", tmp_path / "out.h5", run="r", streams=2)
    lines = predicted(tmp_path / "s.h5", run="r", streams=2)

    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["model"] == fingerprint(signal_model)
        assert file["predictions"].shape == (3, 50)
        assert file["predictions"][:].ravel().tolist() == [line["prediction"] for line in lines]
        assert file["stream"].asstr()[:].tolist() == [line["stream"] for line in lines[::50]]
        assert file["sequence"].asstr()[:].tolist() == ["r-0", "r-1", "r-2"]


def test_castings_as_hdf5_hold_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("core.offline.prediction_file._BUFFER", 4)
    write_castings(tmp_path / "c.h5", LENGTHS)

    predict(tmp_path / "c.h5", tmp_path / "out.hdf5", rules=RULES)
    lines = predicted(tmp_path / "c.h5", rules=RULES)

    with h5py.File(tmp_path / "out.hdf5") as file:
        columns = {name: file[f"scores/{name}"][:] for name in file["scores"]}
        streams, sequences = file["stream"].asstr()[:], file["sequence"].asstr()[:]
    for index, line in enumerate(lines):
        row = {name: column[index].item() for name, column in columns.items()}
        cast = row.pop("cast")
        assert (streams[cast], sequences[cast]) == (line.pop("stream"), line.pop("sequence"))
        line.pop("model")
        if line.pop("reason", None) == "too_short":
            assert math.isnan(row.pop("probability"))
            assert (line.pop("probability"), line.pop("attention_peak"), row.pop("attention_peak")) == (None, None, -1)
        assert row == line


def test_progress_is_told(tmp_path):
    write_castings(tmp_path / "c.h5", LENGTHS)
    checked, done = [], []

    predicted(
        tmp_path / "c.h5",
        rules=RULES,
        on_check=lambda *values: checked.append(values),
        on_progress=lambda *rows: done.append(rows),
    )

    assert checked[-1] == (5 * sum(LENGTHS), 5 * sum(LENGTHS))
    assert done[-1] == (len(LENGTHS), len(LENGTHS))


def test_bad_files_and_arguments_are_refused_in_one_line(tmp_path):
    write_signals(tmp_path / "s.h5", rows=2, steps=10)
    write_signals(tmp_path / "nan.h5", rows=2, steps=10)
    with h5py.File(tmp_path / "nan.h5", "r+") as file:
        file["mixed_signals"][1, 3] = np.nan

    with pytest.raises(DataError, match=r"nan\.h5: dataset 'mixed_signals': value at \[1, 3\]"):
        predict(tmp_path / "nan.h5", io.BytesIO())
    with pytest.raises(DataError, match="no such file"):
        predict(tmp_path / "none.h5", io.BytesIO())
    with pytest.raises(DataError, match="cannot be written"):
        predict(tmp_path / "s.h5", tmp_path / "no folder" / "out.jsonl")
    with pytest.raises(StartupError, match="streams is 0"):
        predict(tmp_path / "s.h5", io.BytesIO(), streams=0)
    with pytest.raises(StartupError, match=r"defect\.safetensors: holds a SteelDefectLSTM"):
        predict(tmp_path / "s.h5", io.BytesIO(), signal_checkpoint=checkpoint_path("defect"))
