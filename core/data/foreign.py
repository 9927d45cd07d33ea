"""Names the type of a file that cannot be read here, and how to turn it into one that can."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py

from core.wire.packings import GIT_LFS, packing_of

# A file's first bytes, what it is, and what to do.
_BEGINNINGS = (
    (b"MATLAB 5.0 MAT-file", "a MATLAB file older than v7.3: save it with save(NAME, '-v7.3')"),
    (b"CDF\x01", "a netCDF-3 file: convert it with nccopy -k nc4 IN OUT"),
    (b"CDF\x02", "a netCDF-3 file: convert it with nccopy -k nc4 IN OUT"),
    (b"CDF\x05", "a netCDF-3 file: convert it with nccopy -k nc4 IN OUT"),
    (b"\x0e\x03\x13\x01", "an HDF4 file: convert it with h4toh5"),
    (b"\x93NUMPY", "a NumPy array: write it into an HDF5 file with h5py"),
    (b"PAR1", "a Parquet file: caststream import makes an HDF5 file of it"),
    (b"ARROW1", "an Arrow file: caststream import makes an HDF5 file of it"),
    (b"TDSm", "a LabVIEW TDMS file: export it as CSV and use caststream import-csv"),
    (b"SQLite format 3\0", "an SQLite database: export it as CSV and use caststream import-csv"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV and use caststream import-csv"),
    (GIT_LFS, "a Git LFS pointer: git lfs pull brings the file itself"),
)
_CSV = "a CSV: caststream import-csv makes an HDF5 file of casts of it"
_LINES = "JSON lines: caststream send takes them on standard input"
_LISTED = 12
_LOOKED_AT = 10_000


def not_hdf5(path: Path) -> str:
    """Name a file that is not HDF5, and the way from there, as the end of a sentence."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        start = b""
    what = next((what for beginning, what in _BEGINNINGS if start.startswith(beginning)), None)
    if what is None and start.startswith(b"PK\x03\x04"):
        what = _zip(path)
    if what is None and (packing := packing_of(start)):
        what = f"compressed with {packing}: unpack it first"
    if what is None:
        what = _text(start)
    return "is not an HDF5 file" + (f" but {what}" if what else "" if start else ": it is empty")


def _zip(path: Path) -> str:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz): write its arrays into an HDF5 file with h5py"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook: save it as CSV and use caststream import-csv"
    return "a zip archive: unpack it first"


def _text(start: bytes) -> str | None:
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = start[: len(start) - len(start) % 2].decode(encoding, errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or "\0" in text or text.count("\ufffd") > 1:  # the last character may be cut
        return None
    if lines[0].lstrip().startswith(("{", "[")):
        return _LINES
    return _CSV if any(mark in lines[0] for mark in ",;\t") else None


def not_ours(file: h5py.File) -> str:
    """Describe an HDF5 file that holds neither kind: what wrote it, or which datasets were found."""
    frames = [name for name in file if "pandas_type" in _attributes(file, name)]
    if frames:
        return f"is a pandas file (group {frames[0]}): export it as CSV and use caststream import-csv"
    found = _found(file)
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    held = ", ".join(found[:_LISTED]) + more if found else "no dataset at all"
    return (
        f"holds neither signals (mixed_signals) nor castings (the five sensors) but {held}; name the task of other "
        "samples by --task"
    )


def _attributes(file: h5py.File, name: str) -> Any:
    try:
        return file[name].attrs
    except (KeyError, OSError, RuntimeError):  # a broken link
        return {}


def _found(file: h5py.File) -> list[str]:
    """Name and shape of the datasets, in groups too."""
    found: list[str] = []
    seen = 0

    def note(name: str, item: object) -> bool | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Dataset):
            found.append(f"{name} {item.shape}")
        return True if seen >= _LOOKED_AT else None  # anything but None ends the visit

    file.visititems(note)
    return found
