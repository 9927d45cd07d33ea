"""The source of a draft, told by the end of its name."""

from __future__ import annotations

from pathlib import Path

from core.drafts.draft import Draft
from core.errors import StartupError

_HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
_CSV = (".csv", ".txt", ".tsv")
_COLUMNAR = (".parquet", ".pq", ".feather", ".arrow")


def draft_of(source: Path, folder: Path) -> Draft:
    """Read what a task file in ``folder`` could begin with.

    Raises:
        StartupError: the source is of no known kind, or cannot be used.
    """
    ending = source.suffix.lower()
    if not source.is_file():
        raise StartupError(f"{source}: {'is no file' if source.exists() else 'there is no such file'}")
    if ending in _CSV:
        from core.drafts.csv_file import draft_of_csv

        return draft_of_csv(source)
    if ending in _COLUMNAR:
        from core.drafts.columnar_file import draft_of_columnar

        return draft_of_columnar(source)
    if ending in _HDF5:
        from core.drafts.hdf5_file import draft_of_hdf5

        return draft_of_hdf5(source)
    if ending == ".onnx":
        from core.drafts.onnx_file import draft_of_onnx

        return draft_of_onnx(source, folder)
    raise _refused(source, ending)


def _refused(source: Path, ending: str) -> StartupError:
    from core.engines.own_weights import SUFFIXES

    if ending in SUFFIXES:
        return StartupError(
            f"{source}: weights do not say what the fields are: begin with a file of samples, such as a CSV with a "
            f'header, then write file = "{source.name}" into the [model] of what comes of it'
        )
    return StartupError(f"{source}: must end in {', '.join((*_CSV, *_COLUMNAR, *_HDF5, '.onnx'))}")
