"""Zeros that nobody measured: what was never written, and what virtual datasets no longer find."""

import h5py
import numpy as np
import pytest

from core.data.layout import open_checked
from core.data.measured import require_measured
from core.errors import DataError
from tests.files import write_signals


def refused(path, name="x"):
    with h5py.File(path) as file, pytest.raises(DataError) as caught:
        require_measured(file, name)
    return str(caught.value)


def accepted(path, name="x"):
    with h5py.File(path) as file:
        return require_measured(file, name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


@pytest.mark.parametrize("written", [0, 1, 2])
def test_chunks_that_were_never_written_are_named_by_their_place(path, written):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (4, 30), "f4", chunks=(4, 10), compression="gzip")
        data[:, : 10 * written] = 0.0

    assert f"was never written from [0, {10 * written}] on ({3 - written} of 3 chunks)" in refused(path)


def test_zeros_that_were_written_are_readings(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((3, 7)), chunks=(2, 3), compression="gzip")
        file.create_dataset("y", data=np.zeros(5))
        late = file.create_dataset("z", (0,), "f4", maxshape=(None,), chunks=(4,))
        late.resize((6,))
        late[:] = 0.0
    for name in "xyz":
        accepted(path, name)


def test_a_contiguous_dataset_that_was_never_written_is_refused(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (5,), "f4")
        file.create_dataset("y", (5,), "f4", fillvalue=3.0)

    assert "was never written" in refused(path)
    assert "was never written" in refused(path, "y")


def virtual(path, shape, *sources):
    """A virtual dataset x of pieces (place, file, dataset, shape)."""
    layout = h5py.VirtualLayout(shape, "f4")
    for place, name, dataset, extent in sources:
        layout[place] = h5py.VirtualSource(name, dataset, extent)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)


def source(path, values, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("d", data=np.asarray(values, "f4"), **options)


def test_each_source_of_a_virtual_dataset_must_be_there_and_long_enough(tmp_path, path):
    source(tmp_path / "a.h5", np.ones(10))
    virtual(path, (20,), (slice(10), "a.h5", "d", (10,)), (slice(10, 20), "b.h5", "d", (10,)))
    assert "its source b.h5 is missing" in refused(path)

    source(tmp_path / "b.h5", np.ones(4))
    assert "its source b.h5 is too short" in refused(path)

    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["other"] = 1
    assert "its source b.h5 holds no dataset d" in refused(path)

    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    assert "its source b.h5 cannot be read" in refused(path)

    source(tmp_path / "b.h5", np.ones(10))
    assert [tmp_path / "a.h5", tmp_path / "b.h5"] == accepted(path).files


def test_places_that_no_source_covers_are_zeros(tmp_path, path):
    source(tmp_path / "a.h5", np.ones(10))
    virtual(path, (20,), (slice(10), "a.h5", "d", (10,)))

    assert "no source covers all of it" in refused(path)


def test_sources_of_sources_are_looked_at(tmp_path, path):
    virtual(tmp_path / "middle.h5", (10,), (slice(None), "gone.h5", "d", (10,)))
    virtual(path, (10,), (slice(None), "middle.h5", "x", (10,)))

    assert "its source middle.h5: its source gone.h5 is missing" in refused(path)


def test_a_source_in_a_folder_of_its_own_is_found_beside_the_file(tmp_path, path, monkeypatch):
    (tmp_path / "raw").mkdir()
    source(tmp_path / "raw" / "a.h5", np.ones(10))
    virtual(path, (10,), (slice(None), "raw/a.h5", "d", (10,)))
    monkeypatch.chdir("/")

    accepted(path)


def test_numbered_sources_are_counted_to_the_end_of_the_dataset(tmp_path, path):
    for number in (0, 1):
        source(tmp_path / f"part-{number}.h5", np.full(10, number))
    space = h5py.h5s.create_simple((20,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (10,), (10,))
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_virtual(space, b"part-%b.h5", b"d", h5py.h5s.create_simple((10,)))
    with h5py.File(path, "w", libver="latest") as file:
        whole = h5py.h5s.create_simple((20,), (h5py.h5s.UNLIMITED,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, whole, plan)
    assert [tmp_path / "part-0.h5", tmp_path / "part-1.h5"] == accepted(path).files

    (tmp_path / "part-0.h5").unlink()
    assert "its source part-0.h5 is missing" in refused(path)


def test_marks_of_a_source_count_and_its_packing_is_refused(tmp_path, path):
    source(tmp_path / "a.h5", np.ones(10))
    virtual(path, (10,), (slice(None), "a.h5", "d", (10,)))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["d"].attrs["_FillValue"] = -9999.0
    assert accepted(path).marks == [("_FillValue", -9999.0)]

    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["d"].attrs["scale_factor"] = 0.5
    assert "its source a.h5 is packed" in refused(path)


def test_external_data_files_must_be_there_and_long_enough(tmp_path, path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10,), "f4", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    assert "raw.bin is missing" in refused(path)

    (tmp_path / "raw.bin").write_bytes(b"\0" * 39)
    assert "raw.bin is too short" in refused(path)

    (tmp_path / "raw.bin").write_bytes(b"\0" * 40)
    accepted(path)


def test_targets_that_were_never_written_hinder_no_prediction(tmp_path):
    write_signals(tmp_path / "s.h5", rows=2, steps=10)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["target_signals"]
        file.create_dataset("target_signals", (2, 10), "f4")

    open_checked(tmp_path / "s.h5")[0].close()
