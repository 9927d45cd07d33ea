"""Values of a dataset: what was measured is read as it is, all else is named with its place, whatever the type."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.reading import check_values
from core.data.values import Values
from core.errors import DataError
from core.wire.records import MAX_VALUE

TYPES = ["i1", "i2", "i4", "i8", ">i4", "u1", "u2", "u4", "u8", ">u8", "f2", "f4", "f8", ">f2", ">f8", "g"]
KINDS = st.sampled_from([np.dtype(name) for name in TYPES])


def memory():
    return h5py.File("x", "w", driver="core", backing_store=False)


def extremes(dtype):
    """Values at which a comparison of this type could go wrong."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return [0.0, 1e3, -1e3, np.nan, np.inf, -np.inf, limits.max, limits.min, limits.tiny, 1e6, -1e6]
    limits = np.iinfo(dtype)
    inside = [value for value in (10**6, 10**6 + 1, -(10**6), -(10**6) - 1) if limits.min <= value <= limits.max]
    return [0, 1, limits.max, limits.min, limits.min + 1, *inside]


@given(data=st.data(), dtype=KINDS)
def test_a_value_is_taken_only_if_exact_arithmetic_says_that_it_is_within_the_limit(data, dtype):
    with np.errstate(over="ignore"):
        values = np.array(data.draw(st.lists(st.sampled_from(extremes(dtype)), min_size=1, max_size=5)), dtype)
    good = [bool(np.isfinite(value)) and abs(int(value)) <= MAX_VALUE for value in values]
    with memory() as file:
        file["x"] = values

        if all(good):
            check_values([Values(file, "x")])
        else:
            with pytest.raises(DataError, match=rf"'x': value at \[{good.index(False)}\] is "):
                check_values([Values(file, "x")])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", TYPES)
def test_no_type_gives_a_warning_on_the_way_to_float32(dtype):
    with memory() as file:
        file["x"] = np.arange(100).astype(dtype)
        check_values([Values(file, "x")])

        assert Values(file, "x")[:].astype(np.float32).tolist() == list(range(100))


@given(
    packed=st.lists(st.integers(-32000, 32000), min_size=1, max_size=9),
    scale=st.sampled_from([0.01, -2.0, 1.0]),
    offset=st.sampled_from([0.0, 1500.0]),
)
def test_packed_values_are_unpacked_by_the_rule_of_cf(packed, scale, offset):
    with memory() as file:
        file["x"] = np.array(packed, "i2")
        file["x"].attrs.update(scale_factor=np.float32(scale), add_offset=offset)
        data = Values(file, "x")

        assert [value * float(np.float32(scale)) + offset for value in packed] == data[:].tolist()
        assert [data[i] for i in range(len(packed))] == data[:].tolist()


@pytest.mark.parametrize("dtype", ["i2", "f4", "f8", ">i4"])
@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("mark", [-9999.0, np.array([7.0, -9999.0]), np.int16(-9999), "-9999"])
def test_a_mark_of_its_own_is_no_sample_in_whatever_type_it_is_told(dtype, name, mark):
    values = np.arange(20).reshape(4, 5).astype(dtype) + 100
    values[2, 3] = -9999
    with memory() as file:
        file["x"] = values
        check_values([Values(file, "x")])
        file["x"].attrs[name] = mark

        with pytest.raises(DataError, match=rf"value at \[2, 3\] is -9999.*: that is its {name}"):
            check_values([Values(file, "x")])


def test_marks_are_compared_before_values_are_unpacked():
    with memory() as file:
        file["x"] = np.array([0, -1, 100], "i2")
        file["x"].attrs.update(scale_factor=0.5, add_offset=0.0, _FillValue=np.int16(-1))

        with pytest.raises(DataError, match=r"value at \[1\] is -0.5: that is its _FillValue"):
            check_values([Values(file, "x")])


def test_a_chosen_fill_value_and_a_valid_range_are_told_too():
    with memory() as file:
        file.create_dataset("x", data=np.array([1.0, -32767.0]), fillvalue=-32767.0)
        file["y"] = np.array([1.0, 5.0])
        file["y"].attrs["valid_range"] = [0.0, 4.0]

        with pytest.raises(DataError, match=r"'x': value at \[1\] .* its fill value"):
            check_values([Values(file, "x")])
        with pytest.raises(DataError, match=r"'y': value at \[1\] is 5.0: outside its valid_range"):
            check_values([Values(file, "y")])


@pytest.mark.parametrize("attributes", [{"scale_factor": 0.0}, {"scale_factor": [1.0, 2.0]}, {"add_offset": np.nan}])
def test_packing_that_cannot_be_undone_is_refused(attributes):
    with memory() as file:
        file["x"] = np.ones(3)
        file["x"].attrs.update(attributes)

        with pytest.raises(DataError, match="must be one number"):
            Values(file, "x")


@pytest.mark.parametrize("shape", [(9,), (1, 9), (9, 1)])
@pytest.mark.parametrize("chunks", [None, 4])
def test_a_row_and_a_column_are_read_as_one_axis(shape, chunks):
    values = np.arange(9.0)
    with memory() as file:
        cut = None if chunks is None else tuple(min(chunks, length) for length in shape)
        file.create_dataset("x", data=values.reshape(shape), chunks=cut)
        data = Values(file, "x", flat=True)

        assert (data.shape, data.ndim, len(data)) == ((9,), 1, 9)
        assert values.tolist() == data[:].tolist() == data[...].tolist()
        assert values[2:5].tolist() == data[2:5].tolist()
        assert values[7] == data[7]
        assert chunks is None or data.chunks == (4,)
