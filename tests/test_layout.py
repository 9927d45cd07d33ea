"""Bad files end in one line that names file and dataset; interrupted writing leaves nothing behind."""

import os

import h5py
import numpy as np
import pytest

from core.data.castings import generate_castings
from core.data.layout import file_kind, open_castings, open_signals
from core.data.naming import sequence_name, stream_name
from core.data.outputs import create_file
from core.data.signals import generate_signals
from core.errors import DataError, StartupError
from core.wire.records import SENSORS


@pytest.fixture
def signals(tmp_path):
    path = tmp_path / "signals.h5"
    generate_signals(path, samples=6, seed=1, steps=50)
    return path


@pytest.fixture
def castings(tmp_path):
    path = tmp_path / "castings.h5"
    generate_castings(path, casts=6, seed=1)
    return path


def replace(path, name, data, **options):
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        if data is not None:
            file.create_dataset(name, data=data, **options)


def refused(opener, path):
    """The one line, and the dataset it is about."""
    with pytest.raises(DataError) as caught:
        opener(path)
    line = str(caught.value)

    assert "\n" not in line
    assert str(path) in line
    assert isinstance(caught.value, StartupError)
    return line, caught.value.dataset


def test_generated_files_are_accepted(signals, castings):
    with open_signals(signals) as file:
        assert file["mixed_signals"].shape == (6, 50)
        assert file.rate_hz == 1000.0
    with open_castings(castings) as file:
        assert len(file["cast_start"]) == 6
    assert (file_kind(signals), file_kind(castings)) == ("signal", "casting")


@pytest.mark.parametrize("opener", [open_signals, open_castings, file_kind])
def test_what_is_no_hdf5_file_is_named(opener, tmp_path):
    text = tmp_path / "notes.h5"
    text.write_text("not HDF5")
    empty = tmp_path / "empty.h5"
    empty.touch()

    assert "no such file" in refused(opener, tmp_path / "absent.h5")[0]
    assert "not an HDF5 file" in refused(opener, text)[0]
    assert "not an HDF5 file" in refused(opener, empty)[0]
    assert "folder" in refused(opener, tmp_path)[0]


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_named(signals, castings, kept):
    for opener, path in ((open_signals, signals), (open_castings, castings)):
        os.truncate(path, int(path.stat().st_size * kept))

        assert "truncated" in refused(opener, path)[0]


def test_damage_inside_a_file_is_one_line(signals):
    content = bytearray(signals.read_bytes())
    content[100:2000] = b"\xff" * 1900
    signals.write_bytes(content)

    refused(open_signals, signals)


@pytest.mark.parametrize("name", ["mixed_signals", "target_signals", "condition_vectors", "metadata"])
def test_a_missing_signal_dataset_is_named(signals, name):
    replace(signals, name, None)

    line, dataset = refused(open_signals, signals)
    assert "missing" in line
    assert name == dataset


@pytest.mark.parametrize(
    "name",
    [*SENSORS, "cast_start", "cast_length", "label", "defect_probability", "trigger"],
)
def test_a_missing_casting_dataset_is_named(castings, name):
    replace(castings, name, None)

    line, dataset = refused(open_castings, castings)
    assert "missing" in line
    assert name == dataset


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mixed_signals", np.zeros(6)),
        ("mixed_signals", np.zeros((6, 0))),
        ("mixed_signals", np.zeros((0, 50))),
        ("mixed_signals", np.array([[b"x"]])),
        ("target_signals", np.zeros((6, 49))),
        ("condition_vectors", np.zeros((6, 3))),
        ("condition_vectors", np.zeros((5, 4))),
        ("metadata", "no JSON"),
        ("metadata", "[{}]"),
        ("metadata", "3"),
        ("metadata", [1.0, 2.0]),
    ],
)
def test_a_signal_dataset_of_wrong_shape_or_content_is_named(signals, name, data):
    replace(signals, name, data)

    assert refused(open_signals, signals)[1] == name


@pytest.mark.parametrize(
    ("name", "data", "named"),
    [
        ("mold_level", np.zeros(10), "mold_level"),
        ("casting_speed", np.zeros(0), "casting_speed"),
        ("cast_start", np.zeros(0, "i8"), "cast_start"),
        ("cast_start", np.full(6, -1, "i8"), "cast_start"),
        ("cast_start", np.full(6, 2**62, "i8"), "cast_start"),
        ("cast_start", np.full(6, 0.5), "cast_start"),
        ("cast_length", np.zeros(6, "i4"), "cast_length"),
        ("cast_length", np.full(6, 10**6, "i4"), "cast_start"),  # it is the place that does not fit
        ("cast_length", np.ones(5, "i4"), "cast_length"),
        ("label", np.full(6, 2, "i1"), "label"),
        ("defect_probability", np.full(6, 1.5, "f4"), "defect_probability"),
        ("trigger", np.zeros(6), "trigger"),
    ],
)
def test_a_casting_dataset_of_wrong_shape_or_content_is_named(castings, name, data, named):
    replace(castings, name, data)

    assert refused(open_castings, castings)[1] == named


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_place(signals, castings, bad, monkeypatch):
    monkeypatch.setattr("core.data.reading.BLOCK_VALUES", 60)  # several blocks, also for these small files
    with h5py.File(signals, "r+") as file:
        file["target_signals"][4, 17] = bad
    with h5py.File(castings, "r+") as file:
        file["superheat"][123] = bad

    line, dataset = refused(open_signals, signals)
    assert (dataset, "[4, 17]" in line) == ("target_signals", True)
    line, dataset = refused(open_castings, castings)
    assert (dataset, "[123]" in line) == ("superheat", True)
    with open_signals(signals, check_values=False), open_castings(castings, check_values=False):
        pass


def test_unknown_labels_and_probabilities_are_accepted(castings):
    replace(castings, "label", np.full(6, -1, "i1"))
    replace(castings, "defect_probability", np.full(6, np.nan, "f4"))

    open_castings(castings).close()


def test_a_signal_file_in_the_other_form_is_accepted(signals):
    replace(signals, "metadata", '{"frequencies": [1, 3, 5, 7], "num_samples": 6, "time_steps": 50}')
    replace(signals, "config", None)

    with open_signals(signals) as file:
        assert file.rate_hz == 1000.0


def test_a_wrong_sampling_rate_is_refused(signals):
    replace(signals, "metadata", '{"sampling_rate": 0}')

    line, dataset = refused(open_signals, signals)
    assert dataset == "metadata"
    assert "sampling_rate" in line


def test_the_sampling_rate_may_stand_in_the_config(signals):
    replace(signals, "metadata", "{}")
    replace(signals, "config", '{"data": {"sampling_rate": 500}}')

    with open_signals(signals) as file:
        assert file.rate_hz == 500.0


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["temperature"] = [1.0]

    assert "neither" in refused(file_kind, path)[0]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "data.h5"
    path.write_bytes(b"the old file")

    def interrupted():
        with create_file(path) as file:
            file["x"] = [1.0]
            raise interruption

    with pytest.raises(interruption):
        interrupted()

    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == b"the old file"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "absent" / "data.h5"):
        with pytest.raises(DataError, match="cannot be written") as caught, create_file(path):
            pass

        assert "\n" not in str(caught.value)


def test_rows_go_round_the_streams_and_each_pass_has_names_of_its_own():
    assert [stream_name("signal", row, 2) for row in range(3)] == ["signal-0000", "signal-0001", "signal-0000"]
    assert stream_name("casting", 15, 8) == "strand-07"
    assert sequence_name("run", 12) == "run-12"
    assert sequence_name("run", 12, loop_pass=1) == "run-1-12"
