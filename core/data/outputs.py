"""Write files whole or not at all, and never over a file that is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py

from core.errors import DataError
from core.whole_file import whole_file


@contextmanager
def create_file(path: str | Path) -> Iterator[h5py.File]:
    """An HDF5 file to fill; it takes its name when the block ends well, and leaves nothing behind when it does not.

    Raises:
        DataError: the folder does not exist, the disk is full, or the place may not be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(path, "cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise DataError(path, "cannot be written: it is no plain file")
    try:
        with whole_file(path) as partial, h5py.File(partial, "x") as file:
            yield file
    except OSError as error:
        raise DataError(path, f"cannot be written: {first_line(error)}") from error


@contextmanager
def create_lines(path: Path) -> Iterator[BinaryIO]:
    """A file of lines to fill, which takes its name as one of `create_file` does. A link is followed.

    What is no plain file (a terminal, a pipe, /dev/null) is written to as the lines come.

    Raises:
        DataError: the file cannot be written.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.exists() and not place.is_file():
            with place.open("wb") as stream:
                yield stream
        else:
            with whole_file(place) as partial, partial.open("xb") as stream:
                yield stream
    except OSError as error:
        raise DataError(path, f"cannot be written: {error.strerror or error}") from error


def write_text(file: h5py.File, name: str, text: str) -> None:
    """Store ``text`` as a scalar string dataset."""
    file.create_dataset(name, data=text, dtype=h5py.string_dtype(), track_times=False)


def keep_inputs(outputs: Iterable[Path | BinaryIO], inputs: Iterable[str | Path | None]) -> None:
    """Refuse an output that is one of the inputs, by whatever name, path or link; None is no input.

    Raises:
        DataError: names the output.
    """
    kept = [Path(one) for one in inputs if one is not None]
    for output in outputs:
        for read in kept:
            if _same(output, read):
                name = output if isinstance(output, Path) else "standard output"
                raise DataError(name, f"is the file to read ({read}): give the result another name")


def _same(output: Path | BinaryIO, read: Path) -> bool:
    try:
        found = os.stat(output) if isinstance(output, Path) else os.fstat(output.fileno())
        return os.path.samestat(found, os.stat(read)) and os.path.isfile(read)
    except (OSError, ValueError):  # one of them is not there: then they can only be the same by their place
        return isinstance(output, Path) and os.path.realpath(output) == os.path.realpath(read)


def first_line(error: BaseException) -> str:
    """An error of a library in one line."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
