"""The sampling rate and the rows' names are those that the file tells; what is assumed is said."""

import json

import h5py
import numpy as np
import pytest

from core.data.layout import open_castings, open_checked, open_signals
from core.data.naming import SequenceNames
from core.errors import DataError, StartupError
from core.offline.predict import predict
from core.wire.records import decode_casting
from replay.run import replay
from tests.files import write_castings, write_signals
from tests.sinks import MemorySink


def put(path, name, text):
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file[name] = text


def mark(path, where, **attributes):
    with h5py.File(path, "r+") as file:
        (file[where] if where else file).attrs.update(attributes)


@pytest.fixture
def signals(tmp_path):
    write_signals(tmp_path / "s.h5", rows=3, steps=20)
    put(tmp_path / "s.h5", "metadata", "{}")
    return tmp_path / "s.h5"


@pytest.fixture
def casts(tmp_path):
    write_castings(tmp_path / "c.h5", [120, 130, 140])
    return tmp_path / "c.h5"


def opened(path, opener=lambda path: open_checked(path)[0]):
    with opener(path) as file:
        return file


NAMES = ["sampling_rate", "sample_rate", "fs", "Fs", "SamplingRate", "sampleRate", "sampling_frequency", "fs_hz"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["metadata", "config", "mixed_signals", None, "dataset"])
@pytest.mark.parametrize("opener", [open_signals, lambda path: open_checked(path)[0]])
def test_the_rate_is_found_wherever_the_file_tells_it(signals, name, where, opener):
    if where in ("metadata", "config"):
        told = {name: 250}
        put(signals, where, json.dumps(told if where == "metadata" else {"data": told}))
    elif where == "dataset":
        put(signals, name, np.array([[250.0]]))
    else:
        mark(signals, where, **{name: np.array([250], "i4")})

    file = opened(signals, opener)

    assert (file.rate_hz, file.rate_told, file.notes) == (250.0, True, [])


def test_a_rate_that_nobody_tells_is_assumed_and_said(signals, casts):
    for path, hz in ((signals, 1000), (casts, 1)):
        file = opened(path)

        assert (hz, False) == (file.rate_hz, file.rate_told)
        assert [f"{path}: tells no sampling rate: {hz} Hz is assumed"] == file.notes


@pytest.mark.parametrize("told", ["250", "250 Hz", "0.25 kHz", b"250"])
def test_a_rate_may_be_text(signals, told):
    mark(signals, None, fs=told)

    assert opened(signals).rate_hz == 250.0


@pytest.mark.parametrize(
    ("metadata", "attributes", "told"),
    [
        ('[{"sampling_rate": 1}, {"sampling_rate": 2}, {}]', {}, "rows have different sampling rates: 1 and 2 Hz"),
        ('{"sampling_rate": 1}', {"fs": 2.0}, "the attribute fs is 2, sampling_rate of 'metadata' is 1"),
        ('{"sampling_rate": 0}', {}, "sampling_rate is 0: must be a number of Hz"),
        ("{}", {"fs": -1.0}, "the attribute fs is -1"),
        ("{}", {"fs": np.nan}, "the attribute fs is nan"),
        ("{}", {"rate": 1e300}, "the attribute rate is 1e"),
    ],
)
def test_rates_that_contradict_or_are_none_are_refused(signals, metadata, attributes, told):
    put(signals, "metadata", metadata)
    mark(signals, None, **attributes)

    with pytest.raises(DataError, match=told):
        opened(signals)


@pytest.mark.parametrize("where", ["metadata", "mold_level", None])
@pytest.mark.parametrize("opener", [open_castings, lambda path: open_checked(path)[0]])
def test_casts_at_another_rate_than_1_hz_are_refused(casts, where, opener):
    if where == "metadata":
        put(casts, where, '{"sampling_rate": 10}')
    else:
        mark(casts, where, fs=10)

    with pytest.raises(DataError, match="is 10: casts are taken at 1 Hz"):
        opened(casts, opener)


def predicted(path, run=None):
    out = path.with_name("out.jsonl")
    predict(path, out, run=run)
    return list(dict.fromkeys(json.loads(line)["sequence"] for line in out.read_text().splitlines()))


def replayed(path, **options):
    sink, notes = MemorySink(), []
    topics = {"topic_signal": "s", "topic_casting": "c"}
    given = {"client_config": {}, "data_dir": path.parent / "data", "speed": float("inf"), "streams": 1}
    replay(path, sink=sink, on_note=notes.append, **given, **topics, **options)
    return list(dict.fromkeys(decode_casting(value).sequence for _, value in sink.records)), notes


@pytest.mark.parametrize(
    "own", [["a", "b", "heat 3"], [b"a", b"b", b"heat 3"], np.array([4711, 4712, 4713]), np.array([1.0, 2.0, 3.0])]
)
def test_a_casts_own_name_is_its_name_in_predict_and_replay(casts, own):
    put(casts, "sequence", own)
    names = [str(int(one)) if isinstance(own, np.ndarray) else one for one in own]
    names = [one.decode() if isinstance(one, bytes) else one for one in names]

    assert names == predicted(casts) == replayed(casts)[0]


def test_a_run_comes_before_the_names(casts):
    put(casts, "sequence", ["a", "b", "c"])

    assert ["r-a", "r-b", "r-c"] == predicted(casts, "r") == replayed(casts, run="r")[0]


def test_a_second_replay_gives_new_names_and_says_so(casts):
    put(casts, "sequence", ["a", "b", "c"])
    assert (replayed(casts)[0], any("before" in note for note in replayed(casts)[1][:0])) == (["a", "b", "c"], False)

    again, notes = replayed(casts, start_ms=1_700_000_000_000)

    assert again == ["20231114T221320.000Z-a", "20231114T221320.000Z-b", "20231114T221320.000Z-c"]
    assert "was replayed before: its names come after 20231114T221320.000Z-" in notes[-1]


def test_each_pass_has_names_of_its_own(casts):
    put(casts, "sequence", ["a", "b", "c"])
    stop = iter([False] * 2 + [True] * 100)

    names, _ = replayed(casts, loop=True, stop=lambda: next(stop))

    assert names[:2] == ["0-a", "0-b"]
    assert [
        SequenceNames(prefix, ["x"]).name(0, loop_pass)
        for prefix, loop_pass in (("", 1), ("r", 1), ("r", None), ("", None))
    ] == ["1-x", "r-1-x", "r-x", "x"]


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (["a", "b", "a"], "rows 0 and 2 are both 'a'"),
        (["a", "", "c"], "row 1 is ''"),
        (["a", "b"], r"has shape \(2,\): must be \(3,\)"),
        (["a", "b", "ü" * 130], "row 2 is"),
    ],
)
def test_names_that_do_not_name_each_row_are_refused(casts, own, told):
    put(casts, "sequence", own)

    with pytest.raises(DataError, match=told):
        opened(casts)


def test_names_that_would_be_too_long_for_a_record_are_refused(casts):
    put(casts, "sequence", ["a", "b", "x" * 240])

    assert predicted(casts)[-1] == "x" * 240
    with pytest.raises(StartupError, match="too long"):
        predicted(casts, "a-long-name-of-a-run")
    with pytest.raises(StartupError, match="run is 'rrr"):
        SequenceNames("r" * 250)
