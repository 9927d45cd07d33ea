"""Samples of a file as records."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.wire.records import SENSORS, CastingSample, SignalSample
from replay.blocks import Block, Piece
from replay.encode import BlockEncoder
from replay.form import CASTINGS, SIGNALS
from replay.native.encode import encode_records
from tests.clock import START_MS

SELECTED = (0.0, 1.0, 0.0, 0.0)
FLOATS = st.floats(-1e6, 1e6, width=32)


def none_skipped(pieces):
    return np.zeros(len(pieces), np.int64)


def texts_of(values):
    """The JSON of each value, as it stands in a record."""
    values = np.asarray(values, np.float32)
    records = encode_records(
        [b"k"],
        [b',"signal":'],
        np.zeros(1, np.int64),
        [b',"step":'],
        values[None, :, None],
        np.zeros(1, np.int64),
        np.zeros(1, np.int64),
        np.zeros((1, len(values)), np.int64),
    )
    return [value.partition(b",")[0].partition(b":")[2].decode() for _, value in records]


@given(arrays(np.float32, 50, elements=FLOATS))
def test_a_reader_of_doubles_gets_the_same_float32(values):
    found = np.array([float(text) for text in texts_of(values)]).astype(np.float32)

    assert values.tobytes() == found.tobytes()


@given(arrays(np.float32, 50, elements=FLOATS))
def test_floats_have_no_more_digits_than_a_float32_needs_and_stay_floats(values):
    texts = texts_of(values)

    digits = [len(text.lower().partition("e")[0].strip("-").replace(".", "").strip("0")) for text in texts]
    assert max(digits) <= 9
    assert all(isinstance(msgspec.json.decode(text), float) for text in texts)


def test_few_digits_stand_as_they_were_written():
    assert texts_of([0.1, -1.5, 3.0, 0.0, -0.0, 1e-10]) == ["0.1", "-1.5", "3.0", "0.0", "-0.0", "1e-10"]


@given(arrays(np.float32, (2, 7), elements=FLOATS), st.text(max_size=20), st.integers(0, 2**40))
def test_signals_are_the_records_that_the_codec_would_write(values, run, step):
    pieces = [Piece(row, row, step, values[row], row == 0, SELECTED) for row in range(2)]
    encoder = BlockEncoder(SIGNALS, Block(step, 7, pieces, False), [b"a", b"b"], [f"{run}-0", f"{run}-1"])

    records = encoder.records(2, [START_MS + at for at in (2, 3, 4)], none_skipped(pieces))

    expected = [
        (key, SignalSample(float(values[row, at]), SELECTED, f"{run}-{row}", step + at, START_MS + at))
        for at in (2, 3, 4)
        for row, key in enumerate((b"a", b"b"))
    ]
    found = [(key, msgspec.json.decode(value, type=SignalSample)) for key, value in records]
    assert [key for key, _ in expected] == [key for key, _ in found]
    for (_, wanted), (_, got) in zip(expected, found, strict=True):
        assert msgspec.structs.replace(got, signal=float(np.float32(got.signal))) == wanted


def test_casts_end_with_their_last_sample_each_at_a_step_of_its_own():
    values = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    pieces = [
        Piece(0, 0, 0, values[0], ends=False),
        Piece(1, 1, 96, values[1], ends=True),
        Piece(2, 2, 7, values[2], ends=False),
    ]
    encoder = BlockEncoder(CASTINGS, Block(0, 4, pieces, True), [b"a", b"b", b"c"], ["x", "y", "z"])

    records = encoder.records(0, [START_MS + at for at in range(4)], none_skipped(pieces))

    decode = msgspec.json.Decoder(CastingSample).decode
    expected = [
        CastingSample(*map(float, values[row, at]), name, first + at, START_MS + at, row == 1 and at == 3)
        for at in range(4)
        for row, (name, first) in enumerate((("x", 0), ("y", 96), ("z", 7)))
    ]
    assert expected == [decode(value) for _, value in records]
    assert list(msgspec.json.decode(records[0][1])) == [*SENSORS, "sequence", "step", "timestamp_ms", "end"]


def test_steps_that_a_stream_has_sent_before_are_left_out():
    values = np.zeros((2, 3), np.float32)
    pieces = [Piece(row, row, 0, values[row], True, SELECTED) for row in range(2)]
    encoder = BlockEncoder(SIGNALS, Block(0, 3, pieces, True), [b"a", b"b"], ["x", "y"])

    records = encoder.records(0, [1, 2, 3], np.array([0, 2]))

    steps = [(key, msgspec.json.decode(value)["step"]) for key, value in records]
    assert steps == [(b"a", 0), (b"a", 1), (b"a", 2), (b"b", 2)]


@pytest.mark.parametrize("wrong", ["keys", "shared", "steps", "skips", "times", "fields", "lengths", "last"])
def test_sizes_that_do_not_go_together_are_refused(wrong):
    more = {
        name: 1 if name == wrong else 0
        for name in ("keys", "shared", "steps", "skips", "times", "fields", "lengths", "last")
    }

    def zeros(size):
        return np.zeros(size, np.int64)

    with pytest.raises(ValueError, match="not one"):
        encode_records(
            [b"k"] * (2 + more["keys"]),
            [b"f"] * (1 + more["fields"]),
            zeros(1 + more["lengths"]),
            [b"s"] * (2 + more["shared"]),
            np.zeros((2, 3, 1), np.float32),
            zeros(2 + more["steps"]),
            zeros(2 + more["skips"]),
            np.zeros((2, 3 + more["times"]), np.int64),
            zeros(2 + more["last"]),
        )
