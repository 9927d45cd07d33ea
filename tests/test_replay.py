"""The replay into a list in memory, on a clock moved by hand."""

import math

import h5py
import msgspec
import numpy as np
import pytest

from core.data.runs import run_name, run_start_ms
from core.errors import DataError, StartupError
from core.wire.records import decode_casting, decode_signal
from replay import player
from replay.run import ReplayError, Status, replay
from tests.clock import START_MS, HandClock
from tests.files import write_castings, write_signals
from tests.sinks import MemorySink


class TimedSink(MemorySink):
    """Notes when each record came."""

    def __init__(self, clock, fails_after=None):
        super().__init__(fails_after)
        self.clock = clock
        self.times = []

    def send(self, records):
        for record in records:
            super().send((record,))
            self.times.append(self.clock.now_s() - 50.0)


@pytest.fixture
def play(tmp_path):
    """Replays into memory; ``play(file, **options)`` gives the summary and the sink."""

    def run(path, sink=None, **options):
        clock = options.pop("clock", None) or HandClock()
        sink = sink or TimedSink(clock)
        given = {"client_config": {}, "topic_signal": "s", "topic_casting": "c", "data_dir": tmp_path / "data"}
        return replay(path, sink=sink, clock=clock, **given | options), sink

    return run


def by_stream(records, decode):
    found = {}
    for key, value in records:
        found.setdefault(key.decode(), []).append(decode(value))
    return found


@pytest.mark.parametrize("speed", [1.0, 10.0, math.inf])
def test_signals_arrive_as_they_are_in_the_file_whatever_the_speed(tmp_path, play, speed):
    mixed = write_signals(tmp_path / "s.h5", rows=5, steps=30)

    summary, sink = play(tmp_path / "s.h5", streams=2, speed=speed, run="r", start_ms=START_MS)

    streams = by_stream(sink.records, decode_signal)
    for stream in range(2):
        samples = streams[f"signal-{stream:04d}"]
        rows = range(stream, 5, 2)
        assert [f"r-{row}" for row in rows for _ in range(30)] == [each.sequence for each in samples]
        assert [step for _ in rows for step in range(30)] == [each.step for each in samples]
        assert [np.float32(each.signal) for each in samples] == [value for row in rows for value in mixed[row]]
        assert [START_MS + at for at in range(len(samples))] == [each.timestamp_ms for each in samples]
        assert all(each.condition_vector[int(each.sequence[2:]) % 4] == 1.0 for each in samples)
    assert (summary.sent, summary.streams, summary.sequences) == (150, 2, 5)
    assert summary.per_stream == {"signal-0000": 90, "signal-0001": 60}


def test_casts_arrive_as_they_are_in_the_file_and_end_with_their_last_sample(tmp_path, play):
    casts = write_castings(tmp_path / "c.h5", [5, 1, 9, 3, 12])

    summary, sink = play(tmp_path / "c.h5", streams=2, run="r", start_ms=START_MS)

    streams = by_stream(sink.records, decode_casting)
    for strand in range(2):
        samples = streams[f"strand-{strand:02d}"]
        rows = range(strand, 5, 2)
        assert [(f"r-{row}", step) for row in rows for step in range(len(casts[row]))] == [
            (each.sequence, each.step) for each in samples
        ]
        values = [tuple(np.float32(value) for value in each.values) for each in samples]
        assert [tuple(sample) for row in rows for sample in casts[row]] == values
        assert [START_MS + 1000 * at for at in range(len(samples))] == [each.timestamp_ms for each in samples]
        assert [step == len(casts[row]) - 1 for row in rows for step in range(len(casts[row]))] == [
            each.end for each in samples
        ]
    assert (summary.kind, summary.sent, summary.sequences) == ("casting", 30, 5)


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_the_pace_is_that_of_the_recording(tmp_path, play, speed):
    write_signals(tmp_path / "s.h5", rows=2, steps=500)
    write_castings(tmp_path / "c.h5", [5, 7])

    _, signals = play(tmp_path / "s.h5", speed=speed)
    _, casts = play(tmp_path / "c.h5", speed=speed)

    assert signals.times[::2] == signals.times[1::2]
    assert [at * speed for at in signals.times[::2]] == pytest.approx([step * 0.001 for step in range(500)], abs=1e-5)
    assert [at * speed for at in casts.times] == pytest.approx([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6], abs=1e-5)


def test_at_full_speed_no_time_is_spent_waiting(tmp_path, play):
    write_castings(tmp_path / "c.h5", [50, 70])

    _, sink = play(tmp_path / "c.h5", speed=math.inf)

    assert {0.0} == set(sink.times)


def test_streams_play_side_by_side(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=3, steps=4)

    _, sink = play(tmp_path / "s.h5", speed=math.inf)

    keys = [key[-1:] for key, _ in sink.records]
    assert keys == [b"0", b"1", b"2"] * 4


def test_without_a_name_the_run_is_its_start_and_a_loop_adds_the_pass(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)
    sink = MemorySink()

    summary, _ = play(
        tmp_path / "s.h5", sink, streams=1, speed=math.inf, loop=True, stop=lambda: len(sink.records) >= 20
    )

    run = "20231114T221320.000Z"
    samples = [decode_signal(value) for _, value in sink.records]
    assert run_name(START_MS) == run
    assert [f"{run}-{loop}-{row}" for loop, row in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))] == [
        each.sequence for each in samples[:20:4]
    ]
    assert [START_MS + at for at in range(20)] == [each.timestamp_ms for each in samples[:20]]
    assert summary.interrupted


def test_streams_that_end_early_wait_for_the_next_pass(tmp_path, play):
    write_castings(tmp_path / "c.h5", [3, 5])
    clock = HandClock()
    sink = TimedSink(clock)

    play(tmp_path / "c.h5", sink, clock=clock, loop=True, stop=lambda: len(sink.records) >= 9, run="r")

    assert decode_casting(sink.records[8][1]).sequence == "r-1-0"
    assert sink.times[8] == pytest.approx(5.0)


@pytest.mark.parametrize("kind", ["signal", "casting"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("fails_after", [0, 1, 7, 20, 29, 33, 59])
def test_a_resumed_replay_sends_the_rest_and_nothing_twice(tmp_path, play, kind, loop, fails_after):
    if kind == "signal":
        write_signals(tmp_path / "f.h5", rows=5, steps=6)
    else:
        write_castings(tmp_path / "f.h5", [5, 1, 9, 3, 12])
    if fails_after > 30 and not loop:
        fails_after -= 30
    common = {"streams": 2, "speed": math.inf, "loop": loop}
    first, second, whole = MemorySink(fails_after), MemorySink(), MemorySink()

    with pytest.raises(ReplayError, match=f"{fails_after} records"):
        play(tmp_path / "f.h5", first, **common, start_ms=START_MS)
    summary, _ = play(tmp_path / "f.h5", second, resume=True, **common, stop=lambda: len(second.records) >= 60)
    play(tmp_path / "f.h5", whole, **common, start_ms=START_MS, stop=lambda: len(whole.records) >= 120)

    assert summary.resumed
    together = first.records + second.records
    decode = decode_signal if kind == "signal" else decode_casting
    expected = by_stream(whole.records, decode)
    for stream, samples in by_stream(together, decode).items():
        assert samples == expected[stream][: len(samples)]
    if not loop:
        assert sorted(together) == sorted(whole.records)


def test_a_finished_replay_has_nothing_left_to_resume(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)

    play(tmp_path / "s.h5", speed=math.inf)
    summary, sink = play(tmp_path / "s.h5", speed=math.inf, resume=True)

    assert (summary.sent, sink.records) == (0, [])


def test_resume_without_an_earlier_replay_starts_one(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)

    summary, _ = play(tmp_path / "s.h5", resume=True)

    assert (summary.sent, summary.resumed) == (8, False)


def test_what_cannot_be_resumed_is_refused(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)
    play(tmp_path / "s.h5", streams=2, run="r")

    with pytest.raises(StartupError, match="streams is 1, but the replay to resume has 2"):
        play(tmp_path / "s.h5", streams=1, resume=True)
    with pytest.raises(StartupError, match="run is x, but the replay to resume has r"):
        play(tmp_path / "s.h5", run="x", resume=True)
    write_signals(tmp_path / "s.h5", rows=2, steps=5)
    with pytest.raises(StartupError, match="has changed since"):
        play(tmp_path / "s.h5", resume=True)
    next((tmp_path / "data" / "replay").iterdir()).write_bytes(b"{")
    with pytest.raises(StartupError, match="cannot be read as the progress"):
        play(tmp_path / "s.h5", resume=True)


def test_a_place_for_the_progress_that_cannot_be_written_is_named(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)
    (tmp_path / "data").write_text("a file, not a folder")

    with pytest.raises(StartupError, match=r"cannot be written.*data_dir"):
        play(tmp_path / "s.h5")


def test_a_sequence_begins_when_the_one_before_is_known_to_be_acknowledged(tmp_path, play):
    """Else a resumed replay could send the end of a sequence after the next has begun: late records."""
    write_signals(tmp_path / "s.h5", rows=3, steps=4)
    kept = []

    class Watching(MemorySink):
        def send(self, records):
            records = list(records)
            if decode_signal(records[0][1]).step == 0:
                file = next((tmp_path / "data" / "replay").iterdir())
                kept.append((self.flushes, msgspec.json.decode(file.read_bytes())["sent"]))
            super().send(records)

    play(tmp_path / "s.h5", Watching(), streams=1, speed=math.inf)

    assert kept == [(1, [0]), (2, [4]), (3, [8])]


def test_ctrl_c_ends_it_with_what_was_sent(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=40)

    class Interrupted(MemorySink):
        def poll(self):
            if len(self.records) >= 30:
                raise KeyboardInterrupt

    summary, sink = play(tmp_path / "s.h5", Interrupted())

    assert summary.interrupted
    assert summary.sent == len(sink.records) == 30
    rest, _ = play(tmp_path / "s.h5", resume=True)
    assert rest.sent == 50


def test_a_progress_that_can_no_longer_be_kept_is_told_with_what_was_sent(tmp_path, play, monkeypatch):
    write_signals(tmp_path / "s.h5", rows=4, steps=40)
    sink = MemorySink()
    save = player.ReplayProgress.save

    def full(progress, place):
        if len(sink.records) >= 80:
            raise StartupError("no space left on device")
        save(progress, place)

    monkeypatch.setattr(player.ReplayProgress, "save", full)

    with pytest.raises(ReplayError, match="no space left on device; 80 records were"):
        play(tmp_path / "s.h5", sink, streams=2, speed=math.inf)


def test_progress_is_told_while_it_sends(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=1000)
    told = []

    play(tmp_path / "s.h5", on_progress=told.append)

    assert Status("check", 2008, 2008) == [each for each in told if each.phase == "check"][-1]
    sent = [each.done for each in told if each.phase == "send"]
    assert 5 <= len(sent) <= 7
    assert sent == sorted(sent)
    assert told[-1] == Status("send", 2000, 2000)


def test_a_slow_sink_is_told_as_time_behind(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=1, steps=1000)
    clock, told = HandClock(), []

    class Slow(MemorySink):
        def send(self, records):
            super().send(records)
            clock.seconds += 3.0

    play(tmp_path / "s.h5", Slow(), clock=clock, on_progress=told.append)

    assert max(each.behind_s for each in told) == pytest.approx(2.999, abs=0.01)


def test_a_bad_file_is_refused_before_anything_is_sent(tmp_path, play):
    write_signals(tmp_path / "s.h5", rows=2, steps=40)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["mixed_signals"][1, 39] = np.nan
    (tmp_path / "text.h5").write_text("no HDF5")
    write_castings(tmp_path / "c.h5", [5, 6])
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        del file["mold_level"]
    sink = MemorySink()

    for name, found in (
        ("s.h5", r"'mixed_signals': value at \[1, 39\] is nan"),
        ("text.h5", "not an HDF5 file"),
        ("c.h5", "'mold_level': is missing"),
        ("none.h5", "no such file"),
    ):
        with pytest.raises(DataError, match=found):
            play(tmp_path / name, sink)
    assert sink.records == []


def test_a_run_named_by_its_start_tells_it():
    assert [run_start_ms(text) for text in (run_name(START_MS + 7), "r", "20231114T221320Z")] == [
        START_MS + 7,
        None,
        None,
    ]
