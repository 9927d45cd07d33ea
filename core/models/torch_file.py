"""Files of PyTorch: read weights-only, after their checksums, and written as a plain ``torch.load`` reads them."""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO

import torch


class DamagedError(Exception):
    """A part of the file does not fit its checksum."""


def load(raw: bytes) -> Any:
    """The plain data in a file's bytes, all tensors on the CPU.

    Raises:
        DamagedError: as it says.
        Exception: of many types, where it is no file of plain data by torch 1.6 or later.
    """
    damaged = _damaged_part(io.BytesIO(raw))
    if damaged:
        raise DamagedError(f"is damaged: the checksum of its part {damaged!r} does not fit")
    return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)


def save(content: Any, file: BinaryIO) -> None:
    """Write plain data."""
    torch.save(content, file)


def _damaged_part(raw: BinaryIO) -> str | None:
    """The first part of the archive that its checksum does not fit. torch looks at none of those of the weights.

    Raises:
        Exception: of many types, where it is no archive, or none as torch writes them: without compression, so that no
            part is larger than the file.
    """
    with zipfile.ZipFile(raw) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise zipfile.BadZipFile("compressed")
        if any(part.filename.endswith("/constants.pkl") for part in parts):
            raise zipfile.BadZipFile("TorchScript")  # torch.load would warn, and then refuse it
        return archive.testzip()
