"""HDF5 files as recorders, exporters and other programs write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cases.case import case, expect
from tests.cases.room import Ran, Room

STEPS = 130
NOMINAL = (1.2, 1520.0, 150.0, 200.0, 25.0)
UNDISTURBED = 0.0126


@contextmanager
def _casting(room: Room, sensor: str = "", data: Any = None, **options: Any) -> Iterator[tuple[Path, Any]]:
    """A nominal cast of 130 samples, open to be changed; ``data`` instead of the readings of one sensor."""
    import h5py
    import numpy as np

    from core.wire.records import SENSORS

    path = room.folder() / "cast.h5"
    source = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for name, nominal in zip(SENSORS, NOMINAL, strict=True):
            readings = nominal * (1 + 0.002 * source.standard_normal(STEPS))
            file.create_dataset(name, data=readings.astype("f4") if name != sensor or data is None else data, **options)
        file["cast_start"] = np.zeros(1, "i8")
        file["cast_length"] = np.array([STEPS], "i4")
        file["metadata"] = '{"sampling_rate": 1.0}'
        yield path, file


@contextmanager
def _signals(room: Room, metadata: str | None = '{"sampling_rate": 1000}') -> Iterator[tuple[Path, Any]]:
    """Two signals of 60 samples without targets, open to be changed."""
    import h5py
    import numpy as np

    path = room.folder() / "signals.h5"
    with h5py.File(path, "w") as file:
        file["mixed_signals"] = np.random.default_rng(1).normal(0, 0.7, (2, 60)).astype("f4")
        file["condition_vectors"] = np.eye(4, dtype="f4")[:2]
        if metadata is not None:
            file["metadata"] = metadata
        yield path, file


def _replace(file: Any, name: str, data: Any, **attributes: Any) -> None:
    if name in file:
        del file[name]
    file[name] = data
    file[name].attrs.update(attributes)


def _level(**changes: Any) -> Any:
    import numpy as np

    level = np.full(STEPS, 150)
    return level.astype(changes.get("dtype", "f4"))


def _refused(room: Room, path: Path, *parts: str) -> str:
    """Predict and replay refuse the file in one line that says all of ``parts``, and send nothing."""
    ran = room.caststream("predict", path)
    expect(ran.status == 2 and not ran.raw and len(ran.err.splitlines()) == 1, ran.said)
    said = _replay_refuses(room, path)
    for told in (ran.err, said):
        expect(all(part in told for part in parts), told)
        expect("Warning" not in told, told)
    return ran.said.replace(str(path), path.name)


def _replay_refuses(room: Room, path: Path) -> str:
    from core.errors import DataError
    from replay.run import replay
    from tests.sinks import MemorySink

    sink = MemorySink()
    topics = {"topic_signal": "s", "topic_casting": "c"}
    try:
        replay(path, client_config={}, data_dir=room.folder(), speed=float("inf"), sink=sink, **topics)
    except DataError as error:
        expect(not sink.records, f"replay sends {len(sink.records)} records before it refuses")
        return str(error)
    expect(False, f"replay sends {len(sink.records)} records")
    return ""


def _last_score(ran: Ran) -> float:
    expect(ran.status == 0 and ran.raw, ran.said)
    expect("Warning" not in ran.err, ran.err)
    probability: float = json.loads(ran.out.splitlines()[-1])["probability"]
    return probability


def _undisturbed(room: Room, path: Path) -> str:
    score = _last_score(room.caststream("predict", path))
    expect(abs(score - UNDISTURBED) < 0.002, f"scores {score:.4f} instead of about {UNDISTURBED}")
    return f"scores {score:.4f}, as undisturbed"


@case("data-01", tried="the lowest integer in a sensor", before="status 0, and offline differs from the stream")
def lowest_integer(room: Room) -> str:
    import numpy as np

    said = ""
    for dtype in ("i4", "i8", ">i4", "u8", "f8"):
        level = _level(dtype=dtype)
        limits = np.iinfo(level.dtype) if level.dtype.kind in "iu" else np.finfo(level.dtype)
        level[57] = limits.max if dtype == "u8" else limits.min
        with _casting(room, "mold_level", level) as (path, _):
            pass
        said = _refused(room, path, "dataset 'mold_level': value at [57] is ", "must be within 1e+06")
    with _signals(room) as (path, file):
        mixed = np.ones((2, 60), "i4")
        mixed[1, 7] = np.iinfo("i4").min
        _replace(file, "mixed_signals", mixed)
    return f"{_refused(room, path, 'value at [1, 7] is -2147483648')}; {said}"


@case("data-17", tried="float16, big-endian and long double sensors", before="right, with a RuntimeWarning for float16")
def other_types(room: Room) -> str:
    import numpy as np

    said = ""
    for dtype in ("f2", ">f8", ">i2", "u2", np.longdouble):
        with _casting(room, "mold_level", _level().astype(dtype)) as (path, _):
            pass
        said = _undisturbed(room, path)
    for value in (np.inf, -np.inf, np.nan):
        level = _level(dtype="f2")
        level[3] = value
        with _casting(room, "mold_level", level) as (path, _):
            pass
        _refused(room, path, "value at [3] is", "must be finite")
    return said


@case("data-02", tried="a virtual dataset whose source is gone", before="0.92: a false alarm from zeros")
def source_gone(room: Room) -> str:
    import h5py
    import numpy as np

    with _casting(room) as (path, file):
        layout = h5py.VirtualLayout((STEPS,), "f4")
        layout[:] = h5py.VirtualSource("raw.h5", "x", (STEPS,))
        del file["mold_temperature"]
        file.create_virtual_dataset("mold_temperature", layout)
    said = _refused(room, path, "dataset 'mold_temperature': its source raw.h5 is missing")
    with h5py.File(path.parent / "raw.h5", "w") as file:
        file.create_dataset("x", (STEPS,), "f4", chunks=(65,))[:65] = 1520.0
    _refused(room, path, "its source raw.h5", "never written")
    with h5py.File(path.parent / "raw.h5", "r+") as file:
        file["x"][:] = np.full(STEPS, 1520.0)
    _undisturbed(room, path)
    with _casting(room) as (path, file):
        del file["mold_level"]
        file.create_dataset("mold_level", (STEPS,), "f4", chunks=(10,))[:50] = 150.0
    return f"{said}; {_refused(room, path, 'mold_level', 'never written from [50] on')}"


@case("data-03", tried="a sensor packed with scale_factor and add_offset", before="the packed numbers: 0.0838")
def packed(room: Room) -> str:
    import numpy as np

    with _casting(room, "mold_temperature", np.full(STEPS, 2000, "i2")) as (path, file):
        file["mold_temperature"].attrs.update(scale_factor=0.01, add_offset=1500.0)
    return _undisturbed(room, path)


@case("data-04", tried="a dataset's own _FillValue or missing_value", before="-9999 is a reading: 0.0401")
def fill_value(room: Room) -> str:
    import numpy as np

    said = ""
    for name, mark in (("_FillValue", np.float32(-9999)), ("missing_value", np.array([-1.0, -9999.0]))):
        level = _level()
        level[50:60] = -9999
        with _casting(room, "mold_level", level) as (path, file):
            file["mold_level"].attrs[name] = mark
        said = _refused(room, path, "value at [50] is -9999.0: that is its", name)
    packed = np.full(STEPS, 2000, "i2")
    packed[7] = -32768
    with _casting(room, "mold_temperature", packed) as (path, file):
        file["mold_temperature"].attrs.update(scale_factor=0.01, add_offset=1500.0, _FillValue=np.int16(-32768))
    _refused(room, path, "value at [7]", "_FillValue")
    return said


@case("data-12", tried="castings whose metadata say 10 Hz", before="played ten times too slow, scored as 1 Hz")
def ten_hertz(room: Room) -> str:
    with _casting(room) as (path, file):
        file.attrs["fs"] = 10.0
    _refused(room, path, "attribute fs is 10: casts are taken at 1 Hz")
    with _casting(room) as (path, file):
        _replace(file, "metadata", '{"sampling_rate": 10.0}')
    return _refused(room, path, "sampling_rate is 10: casts are taken at 1 Hz")


@case("data-15b", tried="the rate as an attribute, or nowhere", before="1000 Hz, without a word")
def rate_attribute(room: Room) -> str:
    for name in ("sampling_rate", "fs", "SampleRate", "sampling_frequency_Hz"):
        with _signals(room, None) as (path, file):
            file["mixed_signals"].attrs[name] = 250.0
        ran = room.caststream("predict", path)
        expect(json.loads(ran.out.splitlines()[59])["timestamp_ms"] == 236, f"{name}: {ran.out.splitlines()[59]}")
        expect("assumed" not in ran.err, ran.err)
    with _signals(room, None) as (path, file):
        pass
    ran = room.caststream("predict", path)
    expect("tells no sampling rate: 1000 Hz is assumed" in ran.err, ran.err)
    return "4 ms a step; where nothing tells it: " + ran.err.splitlines()[0].replace(str(path), path.name)


@case("data-13", tried="rows with different sampling rates", before="the first row's rate for all")
def mixed_rates(room: Room) -> str:
    with _signals(room) as (path, file):
        file.attrs["fs"] = 500.0
    _refused(room, path, "different sampling rates")
    with _signals(room, '[{"sampling_rate": 1000.0}, {"sampling_rate": 250.0}]') as (path, _):
        pass
    return _refused(room, path, "dataset 'metadata': rows have different sampling rates")


@case("data-06", tried="a dataset compressed with blosc, no plugin", before="'the file is damaged'")
def missing_filter(room: Room) -> str:
    import h5py

    with _casting(room) as (path, file):
        del file["mold_level"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((STEPS,))
        plan.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((STEPS,))
        data = h5py.h5d.create(file.id, b"mold_level", h5py.h5t.IEEE_F32LE, space, plan)
        data.write_direct_chunk((0,), b"packed", 0)
    said = _refused(room, path, "is compressed with a filter of its own (filter 32123), which is not here")
    expect("damaged" not in said, said)
    return said


@case("data-07", tried="a file that its recorder has not closed", before="'already open for write (may use h5clear)'")
def not_closed(room: Room) -> str:
    with _signals(room) as (path, file):
        pass
    raw = bytearray(path.read_bytes())
    import h5py

    with h5py.File(path, "r+", libver="latest"):
        pass
    open_path = path.with_name("open.h5")
    with h5py.File(open_path, "w", libver="latest") as file, h5py.File(path) as done:
        for name in done:
            done.copy(name, file)
        file.swmr_mode = True
        file.flush()
        raw = bytearray(open_path.read_bytes())
    crashed = path.with_name("crashed.h5")
    crashed.write_bytes(raw)
    ran = room.caststream("predict", crashed)
    expect(ran.status == 0 and "recorder has not closed it" in ran.err, ran.said)
    return ran.err.splitlines()[0].replace(str(crashed), crashed.name)


@case("data-08", tried="a file that another program has open for writing", before="an error of HDF5's own")
def open_for_writing(room: Room) -> str:
    import subprocess
    import sys

    with _signals(room) as (path, _):
        pass
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        return _refused(room, path, "wait until it is closed")


@case("data-09", tried="files of MATLAB: rows, columns, doubles", before="'has shape (1, 130): must have 1 axes'")
def matlab(room: Room) -> str:
    import numpy as np

    from core.wire.records import SENSORS

    with _casting(room) as (path, file):
        for column, name in enumerate(SENSORS):
            values = file[name][:].astype("f8")
            _replace(file, name, values[None] if column % 2 else values[:, None], MATLAB_class=np.bytes_("double"))
        for name in ("cast_start", "cast_length"):
            _replace(file, name, file[name][:].astype("f8")[None])
        _replace(file, "metadata", np.frombuffer('{"sampling_rate": 1}'.encode("utf-16-le"), "u2")[:, None])
    _undisturbed(room, path)
    with _signals(room) as (path, file):
        for name in ("mixed_signals", "condition_vectors"):
            _replace(file, name, file[name][:].T, MATLAB_class=np.bytes_("double"))
    return _refused(room, path, "MATLAB stores matrices turned round: save the transpose")


@case("data-10", tried="a pandas file, other formats", before="'holds neither signals nor castings'")
def other_formats(room: Room) -> str:
    import h5py
    import numpy as np

    path = room.folder() / "frame.h5"
    with h5py.File(path, "w") as file:
        file.create_group("df").attrs["pandas_type"] = np.bytes_("frame")
    said = _refused(room, path, "is a pandas file (group df): export it as CSV and use caststream import-csv")
    for content, what in (
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file older than v7.3"),
        (b"CDF\x01\0\0\0\0", "netCDF-3"),
        (b"sequence,casting_speed\na,1\n", "caststream import-csv"),
    ):
        path.write_bytes(content.ljust(600))
        _refused(room, path, what)
    np.savez(room.folder() / "a.npz", x=np.ones(3))
    with h5py.File(path, "w") as file:
        file["raw/temperature"] = np.ones(3)
    _refused(room, path, "raw/temperature (3,)")
    return said


@case("data-11", tried="links that lead nowhere", before="'unexpected KeyError'")
def broken_links(room: Room) -> str:
    import h5py

    said = ""
    for link, what in (
        (h5py.SoftLink("/raw/mold_level"), "a link to /raw/mold_level, which is missing"),
        (h5py.ExternalLink("moved-away.h5", "/x"), "dataset 'mold_level': a link to moved-away.h5, which is missing"),
    ):
        with _casting(room) as (path, file):
            del file["mold_level"]
            file["mold_level"] = link
        said = _refused(room, path, what)
    return said


@case("data-14", tried="labels as floats or booleans", before="'has type float64: that cannot be used here'")
def labels(room: Room) -> str:
    import numpy as np

    from core.data.layout import open_castings
    from core.errors import DataError

    for label in (np.array([1.0]), np.array([True]), np.array([[0.0]])):
        with _casting(room) as (path, file):
            file["label"], file["defect_probability"], file["trigger"] = label, np.array([np.nan]), ["none"]
        _undisturbed(room, path)
        with open_castings(path) as opened:
            expect(opened["label"].tolist() == [int(label.reshape(-1)[0])], str(opened["label"]))
    with _casting(room) as (path, file):
        file["label"], file["defect_probability"], file["trigger"] = np.array([0.5]), np.array([np.nan]), ["none"]
    _undisturbed(room, path)
    try:
        open_castings(path).close()
    except DataError as error:
        return str(error).replace(str(path), path.name)
    expect(False, "a label of 0.5 is taken")
    return ""


@case("data-15a", tried="a recording without targets, casts without labels", before="'target_signals' is missing")
def no_targets(room: Room) -> str:
    with _casting(room) as (path, file):
        del file["cast_start"], file["cast_length"], file["metadata"]
    _undisturbed(room, path)
    with _signals(room, None) as (path, _):
        pass
    ran = room.caststream("predict", path)
    expect(ran.status == 0 and len(ran.out.splitlines()) == 120, ran.said)
    trained = room.caststream("train", "signal", path, "--epochs", "1")
    expect(trained.status == 2 and "'target_signals': is missing" in trained.err, trained.said)
    return "120 predictions; train says that target_signals is missing"


@case("data-19", tried="conditions that are not one-hot, raw counts", before="predictions of nothing, without a word")
def conditions(room: Room) -> str:
    import numpy as np

    with _signals(room) as (path, file):
        _replace(file, "mixed_signals", np.full((2, 60), 30000, "i2"), scale=0.0001)
    ran = room.caststream("predict", path)
    expect("says scale 0.0001: not applied" in ran.err, ran.said)
    return ran.err.splitlines()[0].replace(str(path), path.name)


@case("data-23", tried="casts with names of their own", before="outputs say offline-0")
def names(room: Room) -> str:
    with _casting(room) as (path, file):
        file["sequence"] = ["heat-4712"]
    found = {}
    for run in ((), ("--run", "again")):
        ran = room.caststream("predict", path, *run)
        found[run] = json.loads(ran.out.splitlines()[-1])["sequence"]
    expect(found == {(): "heat-4712", ("--run", "again"): "again-heat-4712"}, str(found))
    return str(list(found.values()))


@case("data-26", tried="100,000 rows of one file", before="right, in 124 s", slow=True)
def many_rows(room: Room) -> str:
    import time

    import h5py
    import numpy as np

    path = room.folder() / "many.h5"
    with h5py.File(path, "w") as file:
        for name, nominal in zip(
            ("casting_speed", "mold_temperature", "mold_level", "cooling_water_flow", "superheat"), NOMINAL, strict=True
        ):
            file[name] = np.full(1_000_000, nominal, "f4")
        file["cast_start"], file["cast_length"] = np.arange(0, 1_000_000, 10), np.full(100_000, 10)
        file["metadata"] = '{"sampling_rate": 1.0}'
    began = time.monotonic()
    ran = room.caststream("predict", path, "--output", path.with_name("out.h5"), "--streams", "100000")
    seconds = time.monotonic() - began
    expect(ran.status == 0 and "100,000 scores" in ran.err, ran.said)
    return f"{seconds:.0f} s"
