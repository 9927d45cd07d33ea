"""Files as a replay reads them: which sample is due where, in bounded memory, each chunk of the file once."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from core.data.reading import _blocks, check_values
from core.data.values import Values
from core.errors import DataError, StartupError
from core.wire.records import SENSORS
from replay import hdf5, ragged
from replay.hdf5 import open_source
from tests.files import write_castings, write_large, write_signals

ROOT = Path(__file__).resolve().parent.parent


def played(source, first=0):
    """What each stream plays: stream -> [(position, row, step, values, ends, condition)], one entry per sample."""
    streams = {stream: [] for stream in range(source.streams)}
    expected = first
    for block in source.blocks(first):
        assert expected == block.first
        expected += block.steps
        assert block.begins == any(piece.step == 0 for piece in block.pieces)
        for piece in block.pieces:
            assert block.steps == len(piece.values)
            for index, values in enumerate(piece.values.tolist()):
                ends = piece.ends and index == block.steps - 1
                sample = (block.first + index, piece.row, piece.step + index, values, ends, piece.condition)
                streams[piece.stream].append(sample)
    return streams


@pytest.mark.parametrize("chunks", [None, (1, 7), (3, 4), (7, 12)])
@pytest.mark.parametrize("streams", [1, 3, 7, 9])
@pytest.mark.parametrize("block", [1, 5, 40, 1000])
def test_each_stream_plays_its_rows_in_order(tmp_path, monkeypatch, chunks, streams, block):
    monkeypatch.setattr(hdf5, "BLOCK_SAMPLES", block)
    mixed = write_signals(tmp_path / "s.h5", rows=7, steps=12, chunks=chunks)
    source = open_source(tmp_path / "s.h5", streams)

    found = played(source)

    for stream in range(streams):
        rows = list(range(stream, 7, streams))
        assert [(at, rows[at // 12], at % 12) for at in range(12 * len(rows))] == [each[:3] for each in found[stream]]
        assert [value for row in rows for value in mixed[row].tolist()] == [each[3] for each in found[stream]]
        assert [at % 12 == 11 for at in range(12 * len(rows))] == [each[4] for each in found[stream]]
        assert all(each[5].index(1.0) == each[1] % 4 for each in found[stream])
    assert [12 * len(range(stream, 7, streams)) for stream in range(streams)] == source.totals


@pytest.mark.parametrize("streams", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("block", [1, 4, 4096])
def test_each_strand_plays_its_casts_whatever_their_lengths(tmp_path, monkeypatch, streams, block):
    monkeypatch.setattr(ragged, "MOST_STEPS", block)
    lengths = [5, 1, 9, 3, 12]
    casts = write_castings(tmp_path / "c.h5", lengths)
    source = open_source(tmp_path / "c.h5", streams)

    found = played(source)

    for strand in range(streams):
        rows = range(strand, len(lengths), streams)
        expected = [(row, step) for row in rows for step in range(lengths[row])]
        assert [(at, *place) for at, place in enumerate(expected)] == [each[:3] for each in found[strand]]
        assert [casts[row][step].tolist() for row, step in expected] == [each[3] for each in found[strand]]
        assert [step == lengths[row] - 1 for row, step in expected] == [each[4] for each in found[strand]]
        assert len(expected) == source.totals[strand]


@pytest.mark.parametrize("first", range(0, 26, 5))
def test_starting_further_on_gives_the_rest(tmp_path, monkeypatch, first):
    monkeypatch.setattr(hdf5, "BLOCK_SAMPLES", 10)
    write_signals(tmp_path / "s.h5", rows=5, steps=10)
    write_castings(tmp_path / "c.h5", [5, 1, 9, 3, 12])

    for name in ("s.h5", "c.h5"):
        source = open_source(tmp_path / name, 2)
        whole, rest = played(source), played(source, first)

        for stream in range(2):
            assert [each for each in whole[stream] if each[0] >= first] == rest[stream]


def test_a_sequence_begins_only_where_a_block_begins(tmp_path):
    write_castings(tmp_path / "c.h5", [5, 1, 9, 3, 12])

    blocks = list(open_source(tmp_path / "c.h5", 2).blocks(0))

    # strand 0:  0 0 0 0 0 2 2 2 2 2 2 2 2 2 4 ...      strand 1:  1 3 3 3
    assert [(block.first, block.steps) for block in blocks] == [(0, 1), (1, 3), (4, 1), (5, 9), (14, 12)]
    assert [block.begins for block in blocks] == [True, True, False, True, True]


def test_more_streams_than_rows_leave_streams_without_samples(tmp_path):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)

    assert open_source(tmp_path / "s.h5", 4).totals == [4, 4, 0, 0]


def test_streams_must_be_one_or_more(tmp_path):
    write_signals(tmp_path / "s.h5", rows=2, steps=4)

    with pytest.raises(StartupError, match="streams is 0: must be 1 or more"):
        open_source(tmp_path / "s.h5", 0)


@pytest.mark.parametrize(("name", "place"), [("mixed_signals", (4, 9)), ("condition_vectors", (2, 3))])
@pytest.mark.parametrize(
    ("value", "rule"), [(np.nan, "finite"), (-np.inf, "finite"), (2e6, "within 1e"), (-2e6, "within 1e")]
)
def test_a_value_that_no_record_may_carry_is_named_with_its_place(tmp_path, name, place, value, rule):
    write_signals(tmp_path / "s.h5", rows=5, steps=10)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file[name][place] = value

    with pytest.raises(DataError, match=rf"s\.h5: dataset '{name}': value at \[{place[0]}, {place[1]}\] .*{rule}"):
        open_source(tmp_path / "s.h5")


def test_a_bad_sensor_value_is_named_with_its_place(tmp_path):
    write_castings(tmp_path / "c.h5", [5, 6])
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file["superheat"][8] = np.nan

    with pytest.raises(DataError, match=r"c\.h5: dataset 'superheat': value at \[8\] is nan: must be finite"):
        open_source(tmp_path / "c.h5")


def test_the_check_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("core.data.reading.BLOCK_VALUES", 20)
    write_signals(tmp_path / "s.h5", rows=5, steps=10)
    told = []

    open_source(tmp_path / "s.h5", on_check=lambda done, total: told.append((done, total)))

    assert told == [(20, 70), (40, 70), (50, 70), (70, 70)]


@pytest.mark.parametrize("chunks", [None, (1, 4), (2, 50), (5, 3), (7, 100)])
@pytest.mark.parametrize("values", [1, 20, 64, 10_000])
def test_the_check_sees_every_value_once_and_cuts_no_chunk(tmp_path, monkeypatch, chunks, values):
    monkeypatch.setattr("core.data.reading.BLOCK_VALUES", values)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", (7, 100), "f4", chunks=chunks)
        seen = np.zeros(data.shape, int)

        for place in _blocks(data):
            seen[place] += 1
            for part, chunk in zip(place, data.chunks or (1, 1), strict=True):
                assert part.start % chunk == 0

        assert (seen == 1).all()


def test_a_damaged_chunk_is_a_file_that_cannot_be_used(tmp_path):
    write_signals(tmp_path / "s.h5", rows=5, steps=1000, chunks=(5, 1000), compression="gzip")
    with h5py.File(tmp_path / "s.h5", "r") as file:
        chunk = file["mixed_signals"].id.get_chunk_info(0)
    with (tmp_path / "s.h5").open("r+b") as raw:
        raw.seek(chunk.byte_offset + 20)
        raw.write(b"\0" * (chunk.size - 40))

    with pytest.raises(DataError, match="damaged"):
        open_source(tmp_path / "s.h5")


def test_chunks_larger_than_hdf5_caches_are_kept(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (1 << 20,), "f4", chunks=(1 << 20,), compression="gzip")

        assert Values(file, "x").id.get_access_plist().get_chunk_cache()[1] >= 1 << 22


def test_a_check_of_names_refuses_the_first_bad_dataset(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in SENSORS:
            file[name] = np.ones(3, "f4")
        file["mold_level"][1] = np.inf

        with pytest.raises(DataError, match="mold_level"):
            check_values([Values(file, name) for name in SENSORS])


def test_a_file_larger_than_the_memory_is_read_to_its_end(tmp_path):
    """The process may hold 60 MB more than it has when the file is opened; the file's samples are 200 MB."""
    write_large(tmp_path / "large.h5")
    code = """
        import resource, sys
        from replay.hdf5 import open_source
        import replay.run
        mapped = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData"))) << 10
        resource.setrlimit(resource.RLIMIT_DATA, (mapped + (60 << 20),) * 2)
        try:
            bytearray(100 << 20)
        except MemoryError:
            pass
        else:
            sys.exit("the limit does not hold")
        source = open_source(sys.argv[1], 20)
        print(sum(block.steps * len(block.pieces) for block in source.blocks(0)), "torch" in sys.modules)
    """
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "large.h5"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("50000000 False\n", "")
