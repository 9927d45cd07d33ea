"""Files and values that are packed: known by their first bytes, for messages."""

from __future__ import annotations

GIT_LFS = b"version https://git-lfs"
"""The first bytes of a Git LFS pointer, a text that stands for the file itself."""

_PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x82SNAPPY": "snappy",
}


def packing_of(start: bytes) -> str | None:
    """The name of the compression whose first bytes these are; None where it is none of those known."""
    return next((name for magic, name in _PACKINGS.items() if start.startswith(magic)), None)
