"""Open HDF5 files and their datasets; if one cannot be opened, name the reason and, if there is one, the remedy."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterable
from pathlib import Path

import h5py

from core.data.foreign import not_hdf5
from core.data.outputs import first_line
from core.errors import DataError

# Compression that HDF5 itself does not bring; the package hdf5plugin has most of it.
FILTERS = {
    4: "szip",
    305: "LZO",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32019: "JPEG",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}
_PLUGIN = (307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026, 32028)
_BUSY = "is still being written, or its recorder crashed: wait until it is closed; after a crash, h5clear -s FILE"


class ChangedError(DataError):
    """A file that became another one while it was read."""


class Unchanged:
    """Checks that files have not changed since they were opened."""

    def __init__(self, path: Path) -> None:
        self._seen: dict[Path, tuple[int, ...]] = {}
        self.add([path])

    def add(self, paths: Iterable[Path]) -> None:
        """Look at these files, too."""
        for path in paths:
            self._seen.setdefault(path, _state(path))

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return list(self._seen)

    def check(self) -> None:
        """Raises: ChangedError: one of the files has changed, was replaced, or is gone."""
        for path, before in self._seen.items():
            now = _state(path)
            if now != before:
                raise ChangedError(path, _difference(before, now))


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _difference(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    if not now:
        return "is gone while it was read"
    if now[:2] != before[:2]:
        return "was replaced by another file while it was read"
    sizes = f" from {before[2]:,} to {now[2]:,} bytes" if now[2] != before[2] else ""
    return f"has changed{sizes} while it was read: wait until it is complete"


def open_file(path: str | Path) -> h5py.File:
    """Open any HDF5 file for reading. One that a recorder left open for readers (SWMR) is read as far as it goes.

    Raises:
        DataError: no such file, no plain file, not HDF5, truncated, or still being written.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(path, "no such file")
    if path.is_dir():
        raise DataError(path, "is a folder, not an HDF5 file")
    if not path.is_file():
        raise DataError(path, "is no plain file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        return _open_otherwise(path, error)


def _open_otherwise(path: Path, error: OSError) -> h5py.File:
    text = str(error)
    if "already open for" in text:
        with contextlib.suppress(OSError):
            return h5py.File(path, "r", swmr=True)
        raise DataError(path, _BUSY) from error
    if "unable to lock file" in text:
        raise DataError(path, "is being written by another program: wait until it is closed") from error
    if isinstance(error, PermissionError) or "Permission denied" in text:
        raise DataError(path, "cannot be read: permission denied") from error
    if "truncated" in text:
        raise DataError(path, "the file is truncated: its end is missing") from error
    if "signature not found" in text or path.stat().st_size == 0:
        raise DataError(path, not_hdf5(path)) from error
    raise DataError(path, f"cannot be read: {first_line(error)}") from error


def dataset_of(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset ``name``, which can be read: it is no broken link, and its compression is known here.

    Raises:
        DataError: names the dataset and the reason.
    """
    link = file.get(name, getlink=True)
    if link is None:
        held = ", ".join(list(file)[:20]) or "nothing"
        raise DataError(file.filename, f"is missing (the file holds {held})", name)
    try:
        found = file[name]
    except (KeyError, OSError, RuntimeError) as error:
        raise DataError(file.filename, _broken(Path(file.filename), link, error), name) from error
    if not isinstance(found, h5py.Dataset):
        raise DataError(file.filename, "is a group, not a dataset", name)
    if found.shape is None:
        raise DataError(file.filename, "is empty (it has no shape)", name)
    problem = missing_filter(found)
    if problem:
        raise DataError(file.filename, problem, name)
    return found


def _broken(owner: Path, link: object, error: BaseException) -> str:
    if isinstance(link, h5py.SoftLink):
        return f"a link to {link.path}, which is missing"
    if isinstance(link, h5py.ExternalLink):
        target = locate(owner, link.filename)
        if target is None:
            return f"a link to {link.filename}, which is missing"
        return f"a link to {link.path} in {link.filename}, which cannot be read: {_why(target, error)}"
    return f"cannot be read: {first_line(error)}"


def _why(target: Path, error: BaseException) -> str:
    try:
        open_file(target).close()
    except DataError as problem:
        return str(problem)
    return "the file holds nothing of that name" if isinstance(error, KeyError) else first_line(error)


def locate(owner: Path, name: str) -> Path | None:
    """The file that ``owner`` calls ``name``, where HDF5 looks for it; None where there is none."""
    folders = [owner.parent, Path(os.path.realpath(owner)).parent]
    for prefix in ("HDF5_VDS_PREFIX", "HDF5_EXT_PREFIX", "HDF5_EXTFILE_PREFIX"):
        if prefix in os.environ:
            folders.insert(0, Path(os.environ[prefix].replace("${ORIGIN}", str(owner.parent))))
    tried = [*(folder / name for folder in folders), Path(name), *(folder / Path(name).name for folder in folders)]
    return next((path for path in tried if path.exists()), None)


def missing_filter(data: h5py.Dataset) -> str | None:
    """Say why the chunks of a dataset cannot be unpacked; None where they can."""
    plan = data.id.get_create_plist()
    for index in range(plan.get_nfilters()):
        number = plan.get_filter(index)[0]
        if not _available(number):
            name = FILTERS.get(number, "a filter of its own")
            way = "pip install hdf5plugin" if number in _PLUGIN else "unpack it where it was made: h5repack -f NONE"
            return f"is compressed with {name} (filter {number}), which is not here: {way}"
    return None


def _available(number: int) -> bool:
    if h5py.h5z.filter_avail(number):
        return True
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # brings filters by being imported
        return bool(h5py.h5z.filter_avail(number))
    return False
