"""Find the sampling rate of a file, and refuse rates that contradict each other.

It searches the JSON texts ``metadata`` (one object, or one for each row) and ``config`` (its ``data``), attributes of
the datasets that are read and of the file, and datasets of one number, all by the names in NAMES.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import msgspec
import numpy as np

from core.data.outputs import first_line
from core.data.values import text_of
from core.errors import DataError
from core.wire.plain_name import plain_name

# Hz; capitals, underscores and a unit at the end (_hz) make no other name.
NAMES = ("samplingrate", "samplerate", "samplingfrequency", "samplefrequency", "samplingfreq", "fs", "sfreq", "rate")
ASSUMED_HZ = {"signal": 1000.0, "casting": 1.0}
OTHERS_HZ = 1.0
"""Assumed of any other task."""
LOWEST_HZ, HIGHEST_HZ = 1e-8, 1e7  # the lowest is a sample in three years: slow histories are of hours, days and months
_WORDS = ("sampling_rate", "sample_rate", "sampling_frequency", "sample_frequency")
_IN_JSON = (
    *_WORDS,
    *(f"{words}_hz" for words in _WORDS),
    *(words.replace("_", "") for words in _WORDS),
    *(words.title().replace("_", "") for words in _WORDS),
    *(words[0] + words.title().replace("_", "")[1:] for words in _WORDS),
    *("fs", "Fs", "FS", "fs_hz", "sfreq"),
)
# What is read of a row's metadata; the rest is skipped, as 40,000 objects of it would fill 100 MB.
_Described = msgspec.defstruct("_Described", [(name, float | None, None) for name in _IN_JSON])
_Config = msgspec.defstruct("_Config", [("data", _Described | None, None)])


@dataclass(frozen=True)
class _Told:
    """A rate, what tells it ("sampling_rate", "the attribute fs"), and the dataset that does."""

    hz: float
    what: str
    dataset: str | None


def told_rate_hz(file: h5py.File, kind: str, values: Sequence[str]) -> float | None:
    """The rate that a file tells; None where it tells none.

    Args:
        kind: "signal", "casting", or the name of another task.
        values: the datasets whose attributes are looked at.

    Raises:
        DataError: a rate is no number above 0, or the file gives two rates; casts at another rate than 1 Hz.
    """
    first: _Told | None = None
    for told in _rates(file, kind, values):
        _check(file, told, kind)
        if first is not None and first.hz != told.hz:
            raise DataError(file.filename, _contradiction(first, told), told.dataset)
        first = first or told
    return None if first is None else first.hz


def _contradiction(first: _Told, other: _Told) -> str:
    if (first.what, first.dataset) == (other.what, other.dataset):
        return f"rows have different sampling rates: {first.hz:g} and {other.hz:g} Hz"
    where = f" of '{first.dataset}'" if first.dataset else ""
    return f"different sampling rates: {other.what} is {other.hz:g}, {first.what}{where} is {first.hz:g}"


def _check(file: h5py.File, told: _Told, kind: str) -> None:
    if not LOWEST_HZ <= told.hz <= HIGHEST_HZ:
        rule = f"must be a number of Hz from {LOWEST_HZ:g} to {HIGHEST_HZ:g}"
        raise DataError(file.filename, f"{told.what} is {told.hz:g}: {rule}", told.dataset)
    if kind == "casting" and told.hz != ASSUMED_HZ["casting"]:
        raise DataError(file.filename, f"{told.what} is {told.hz:g}: casts are taken at 1 Hz", told.dataset)


def _rates(file: h5py.File, kind: str, values: Sequence[str]) -> Iterator[_Told]:
    if "metadata" in file:
        for row in _metadata(file, kind):
            yield from _in_object(row, "metadata")
    if "config" in file:
        config = _decoded(file, "config", _Config, kind)
        if config is not None:
            yield from _in_object(config.data, "config")
    for name in values:
        yield from _in_attributes(file[name].attrs, name)
    yield from _in_attributes(file.attrs, None)
    for name in file:
        if (
            name not in values
            and _plain(name) in NAMES
            and isinstance(file.get(name), h5py.Dataset)
            and file[name].size == 1
        ):
            yield from _number(np.asarray(file[name][()]).reshape(-1)[0], "it", name)


def metadata_rows(file: h5py.File) -> int | None:
    """For how many rows the metadata has an object each; None where it is one object for all.

    Raises:
        DataError: it is not JSON of one of these forms.
    """
    found = _decoded(file, "metadata", list[_Described] | _Described, "signal")  # type: ignore[valid-type]
    return len(found) if isinstance(found, list) else None


def _metadata(file: h5py.File, kind: str) -> list[Any]:
    found = _decoded(file, "metadata", list[_Described] | _Described, kind)  # type: ignore[valid-type]
    return found if isinstance(found, list) else [] if found is None else [found]


def _decoded(file: h5py.File, name: str, form: Any, kind: str) -> Any:
    """A JSON text of the file. Only that of signals must be one: of others nothing but the rate is read."""
    text = ""
    try:
        text = read_text(file, name)
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, UnicodeError, DataError) as error:
        if kind != "signal" and not (isinstance(error, msgspec.ValidationError) and text.lstrip().startswith("{")):
            return None
        if isinstance(error, DataError):
            raise
        raise DataError(file.filename, f"cannot be used: {first_line(error)}", name) from error


def read_text(file: h5py.File, name: str) -> str:
    """A dataset that is one text: a string, or MATLAB's row of characters.

    Raises:
        DataError: it is none.
    """
    data = file[name]
    found = np.asarray(data[()]) if isinstance(data, h5py.Dataset) and data.shape is not None else np.empty(0)
    if found.dtype == np.uint16 and found.ndim == 2 and 1 in found.shape:
        return found.astype("<u2").tobytes().decode("utf-16-le")
    if found.size != 1 or found.dtype.kind not in "OSU":
        raise DataError(file.filename, f"must be one string, holds {found.dtype} {found.shape}", name)
    return text_of(found)


def _in_object(found: Any, dataset: str) -> Iterator[_Told]:
    for name in () if found is None else _IN_JSON:
        hz = getattr(found, name)
        if hz is not None:
            yield _Told(hz, name, dataset)


def _in_attributes(attributes: Any, dataset: str | None) -> Iterator[_Told]:
    for name in attributes:
        if _plain(name) in NAMES:
            yield from _number(attributes[name], f"the attribute {name}", dataset)


def _number(told: Any, what: str, dataset: str | None) -> Iterator[_Told]:
    """A number of Hz; text that is none tells no rate."""
    found = np.asarray(told).reshape(-1)
    if len(found) and found.dtype.kind in "fiu":
        yield from (_Told(float(one), what, dataset) for one in found)
    elif len(found) == 1:
        text = text_of(told).strip().lower()
        factor = 1000.0 if text.endswith("khz") else 1.0
        try:
            yield _Told(factor * float(text.removesuffix("hz").removesuffix("k")), what, dataset)
        except ValueError:
            return


def _plain(name: str) -> str:
    return plain_name(name).removesuffix("hz")
