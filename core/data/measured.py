"""Find zeros that nobody measured: HDF5 silently gives zeros for parts that were never written or no longer exist.

It looks for chunks and blocks that were never written, places that no source of a virtual dataset covers, and sources,
and their own sources, that are missing or too short.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from core.data.opening import locate, missing_filter, open_file
from core.errors import DataError

PACKING = ("scale_factor", "add_offset")
MISSING = ("_FillValue", "missing_value")
_DEEPEST = 8
_MANY = 2_000  # sources whose places are joined one by one

Bounds = list[tuple[int, int]]  # of each axis: first, and one after the last


@dataclass
class Origin:
    """The other files that a dataset's numbers come from, and the values that mark no sample there (name, value)."""

    files: list[Path] = field(default_factory=list)
    marks: list[tuple[str, Any]] = field(default_factory=list)


def require_measured(file: h5py.File, name: str) -> Origin:
    """Refuse a dataset of which a part was never written.

    Raises:
        DataError: names the dataset, and the source that is missing.
    """
    data, origin = file[name], Origin()
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        origin.files.append(Path(data.file.filename))
    problem = _problem(data, _whole(data.shape), origin, 0)
    if problem:
        raise DataError(file.filename, problem, name)
    return origin


def _whole(shape: tuple[int, ...]) -> Bounds:
    return [(0, length) for length in shape]


def _problem(data: h5py.Dataset, bounds: Bounds, origin: Origin, depth: int) -> str | None:
    """Describe the part of a dataset that was read but never measured; None if there is none."""
    if data.is_virtual:
        return _virtual_problem(data, origin, depth)
    if data.external:
        return _external_problem(data, origin)
    if data.chunks is None:
        stored = data.id.get_storage_size() or data.id.get_space_status() != h5py.h5d.SPACE_STATUS_NOT_ALLOCATED
        return None if stored or 0 in data.shape else "was never written: it would be read as zeros"
    return _chunk_problem(data, bounds)


def _chunk_problem(data: h5py.Dataset, bounds: Bounds) -> str | None:
    needed = math.prod(math.ceil(length / chunk) for length, chunk in zip(data.shape, data.chunks, strict=True))
    written = data.id.get_num_chunks()
    if written >= needed:
        return None
    there: set[tuple[int, ...]] = set()
    if written:
        data.id.chunk_iter(lambda chunk: there.add(tuple(chunk.chunk_offset)))
    axes = [range(first // chunk * chunk, end, chunk) for (first, end), chunk in zip(bounds, data.chunks, strict=True)]
    gone = next((place for place in itertools.product(*axes) if place not in there), None)
    if gone is None:
        return None
    shown = ", ".join(map(str, gone))
    return f"was never written from [{shown}] on ({needed - written} of {needed} chunks): it would be read as zeros"


def _external_problem(data: h5py.Dataset, origin: Origin) -> str | None:
    owner, left = Path(data.file.filename), data.size * data.dtype.itemsize
    for name, offset, length in data.external:
        path = locate(owner, name)
        if path is None:
            return f"its data file {name} is missing"
        if path.stat().st_size < offset + min(left, length):
            return f"its data file {name} is too short: it would be read as zeros"
        left -= min(left, length)
        origin.files.append(path)
    return None


def _virtual_problem(data: h5py.Dataset, origin: Origin, depth: int) -> str | None:
    if depth >= _DEEPEST:
        return f"is virtual, through more than {_DEEPEST} files"
    sources = data.virtual_sources()
    for source in sources:
        for number in _numbers(data, source):
            problem = _source_problem(data, source, number, origin, depth)
            if problem:
                return problem
    return None if _covered(data, sources) else "is virtual, and no source covers all of it: zeros would stand there"


def _numbers(data: h5py.Dataset, source: Any) -> range:
    """The numbers that stand for %b in a source's names; one where there is no %b."""
    if "%b" not in source.file_name + source.dset_name:
        return range(1)
    start, stride, count, _ = source.vspace.get_regular_hyperslab()
    blocks = [
        math.ceil((length - first) / step)
        for length, first, step, many in zip(data.shape, start, stride, count, strict=True)
        if many >= h5py.h5s.UNLIMITED
    ]
    return range(max(1, *blocks)) if blocks else range(1)


def _source_problem(data: h5py.Dataset, source: Any, number: int, origin: Origin, depth: int) -> str | None:
    file_name, name = (_named(text, number) for text in (source.file_name, source.dset_name))
    owner = Path(data.file.filename)
    path = owner if file_name == "." else locate(owner, file_name)
    if path is None:
        return f"its source {file_name} is missing"
    if path not in origin.files and path != owner:
        origin.files.append(path)
    try:
        with open_file(path) as other:
            found = _found(other, name)
            if found is None:
                return f"its source {file_name} holds no dataset {name}"
            return _part_problem(data, found, source, f"its source {file_name}", origin, depth)
    except DataError as error:
        return f"its source {file_name} cannot be read: {error}"
    except (OSError, RuntimeError) as error:
        return f"its source {file_name} cannot be read: {str(error).splitlines()[0]}"


def _named(text: str, number: int) -> str:
    return text.replace("%%", "\0").replace("%b", str(number)).replace("\0", "%")


def _found(file: h5py.File, name: str) -> h5py.Dataset | None:
    try:
        found = file[name]
    except KeyError:
        return None
    return found if isinstance(found, h5py.Dataset) else None


def _part_problem(
    data: h5py.Dataset, found: h5py.Dataset, source: Any, what: str, origin: Origin, depth: int
) -> str | None:
    missing = missing_filter(found)
    if missing:
        return f"{what} {missing}"
    if any(name in found.attrs and name not in data.attrs for name in PACKING):
        return f"{what} is packed (scale_factor, add_offset), which a virtual dataset does not unpack"
    origin.marks += [(name, found.attrs[name]) for name in MISSING if name in found.attrs]
    bounds = _bounds(source, found)
    if any(end > length for (_, end), length in zip(bounds, found.shape, strict=False)):
        return f"{what} is too short: zeros would stand there"
    problem = _problem(found, bounds, origin, depth + 1)
    return f"{what}: {problem}" if problem else None


def _bounds(source: Any, found: h5py.Dataset) -> Bounds:
    """Return the part of a source that is read; all of it if that is unknown."""
    if source.src_space.get_select_type() != h5py.h5s.SEL_HYPERSLABS:
        wanted = source.vspace
        endless = "%b" in source.file_name + source.dset_name
        if not endless and wanted.get_select_npoints() > found.size:
            return [(0, length + 1) for length in found.shape]
        return _whole(found.shape)
    try:
        regular = source.src_space.get_regular_hyperslab()
    except (ValueError, RuntimeError):  # an irregular selection
        return _whole(found.shape)
    bounds = []
    for start, stride, count, block, length in zip(*regular, found.shape, strict=True):
        endless = max(count, block) >= h5py.h5s.UNLIMITED
        bounds.append((start, length if endless else start + (count - 1) * stride + block))
    return bounds


def _covered(data: h5py.Dataset, sources: list[Any]) -> bool:
    """True if the sources' places make up the whole dataset."""
    if any("%b" in source.file_name + source.dset_name for source in sources):
        return True
    try:
        points = [source.vspace.get_select_npoints() for source in sources]
    except (ValueError, RuntimeError):  # an endless source covers whatever there is
        return True
    if sum(points) < data.size:
        return False
    return len(sources) > _MANY or _joined(data, sources) >= data.size


def _joined(data: h5py.Dataset, sources: list[Any]) -> int:
    """Count the places that the sources cover, each once."""
    space = h5py.h5s.create_simple(data.shape)
    space.select_none()
    for source in sources:
        if source.vspace.get_select_type() == h5py.h5s.SEL_ALL:
            return int(np.prod(data.shape))
        try:
            start, stride, count, block = source.vspace.get_regular_hyperslab()
        except (ValueError, RuntimeError):  # an irregular selection cannot be joined
            return int(np.prod(data.shape))
        space.select_hyperslab(start, count, stride, block, op=h5py.h5s.SELECT_OR)
    return int(space.get_select_npoints())
