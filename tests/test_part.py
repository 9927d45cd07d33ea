"""A part of a data file is a data file, with the rows that were asked for."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from core.data import part
from core.data.castings import generate_castings
from core.data.layout import open_castings, open_signals
from core.data.part import write_castings_part, write_signals_part
from core.data.signals import generate_signals
from core.wire.records import SENSORS
from tests.files import write_castings, write_signals


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "BLOCK_VALUES", 70)


def samples(file: h5py.File, row: int, sensor: str) -> NDArray[np.float32]:
    start = file["cast_start"][row]
    values: NDArray[np.float32] = file[sensor][start : start + file["cast_length"][row]]
    return values


def test_signals_keep_their_values_and_what_is_said_of_them(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "part.h5"
    generate_signals(whole, 6, 1, 40)

    write_signals_part(whole, out, range(2, 5))

    with h5py.File(whole) as source, open_signals(out) as file:
        for name in ("mixed_signals", "target_signals", "condition_vectors"):
            np.testing.assert_array_equal(file[name][:], source[name][2:5])
        assert json.loads(file["metadata"][()]) == json.loads(source["metadata"][()])[2:5]
        assert file["config"][()] == source["config"][()]
        assert file.rate_hz == 1000.0


def test_metadata_of_the_other_form_count_the_part(tmp_path: Path) -> None:
    write_signals(tmp_path / "whole.h5", 4, 10)
    with h5py.File(tmp_path / "whole.h5", "r+") as file:
        del file["metadata"]
        file["metadata"] = '{"frequencies": [1, 3, 5, 7], "num_samples": 4, "time_steps": 10}'

    write_signals_part(tmp_path / "whole.h5", tmp_path / "part.h5", range(1, 4))

    with open_signals(tmp_path / "part.h5") as file:
        assert json.loads(file["metadata"][()]) == {"frequencies": [1, 3, 5, 7], "num_samples": 3, "time_steps": 10}


def test_casts_keep_their_samples_and_labels(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.h5", tmp_path / "part.h5"
    generate_castings(whole, 5, 1)

    write_castings_part(whole, out, range(1, 4))

    with h5py.File(whole) as source, open_castings(out) as file:
        for row in range(3):
            for name in SENSORS:
                np.testing.assert_array_equal(samples(file, row, name), samples(source, row + 1, name))
        for name in ("label", "defect_probability", "trigger"):
            assert file[name][:].tolist() == source[name][1:4].tolist()


def test_casts_may_lie_anywhere_in_their_file(tmp_path: Path) -> None:
    casts = write_castings(tmp_path / "whole.h5", [4, 3, 5])
    with h5py.File(tmp_path / "whole.h5", "r+") as file:
        file["cast_start"][:] = [7, 4, 0]
        file["cast_length"][:] = [5, 3, 4]

    write_castings_part(tmp_path / "whole.h5", tmp_path / "part.h5", range(1))

    with open_castings(tmp_path / "part.h5") as file:
        assert file["cast_start"][:].tolist() == [0]
        assert file[SENSORS[0]][:].tolist() == casts[2][:, 0].tolist()
