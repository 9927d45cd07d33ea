"""Name files that are no checkpoint by their first bytes, because users often give others. Nothing of a file is run."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

from core.models.safetensors import looks_like_safetensors
from core.wire.packings import GIT_LFS, packing_of

SAVE = "torch.save({'model_state_dict': model.state_dict(), 'config': config}, FILE)"
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch before 1.6 begins with, as a pickle
_ONNX_FIELDS = b"\x12\x1a\x22\x2a\x32\x3a\x42"  # the one after ir_version
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        GIT_LFS,
        "it is a Git LFS pointer, which stands for the file: get the file itself with `git lfs pull`",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "it is an HDF5 file: weights of Keras (.h5) are another model's and cannot be read, a recording is no model",
    ),
    (
        _LEGACY_MAGIC,
        "it is in the format of PyTorch before 1.6: save it again with torch.save(torch.load(FILE, weights_only=True), "
        "FILE) in PyTorch 1.6 or later",
    ),
    (b"GGUF", f"it is a GGUF file: save the PyTorch model with {SAVE}"),
    (b"\x93NUMPY", f"it is a NumPy array: save the PyTorch model with {SAVE}"),
    (b"7z\xbc\xaf", "it is a 7-Zip archive: unpack it first"),
    (b"Rar!", "it is a RAR archive: unpack it first"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")


def what_it_is(raw: bytes) -> str | None:
    """The kind of a file that is no archive of torch, and the way from there; None: no kind that is known here."""
    if not raw:
        return "it is empty (0 bytes): copy or download it again"
    if not raw.strip(b"\0"):
        return f"its {len(raw):,} bytes are all zero: copy or download it again"
    for beginning, told in _BEGINNINGS:
        if raw.startswith(beginning):
            return told
    if packing := packing_of(raw):
        return f"it is compressed with {packing}: unpack it first"
    text = raw[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_MARKUP):
        return "it is a web page (HTML): a download gave the page in place of the file"
    if raw[:4] == b"PK\x03\x04":
        return _archive(raw)
    return _by_inner_marks(raw) or _text(raw)


def is_archive_of_torch(raw: bytes) -> bool:
    """True if it is what torch writes since 1.6, by its parts."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except Exception:  # zipfile raises many types
        return False


def _by_inner_marks(raw: bytes) -> str | None:
    if raw[257:262] == b"ustar":
        return "it is a TAR archive: unpack it first"
    if raw[4:8] == b"TFL3":
        return f"it is a TensorFlow Lite model: save the PyTorch model with {SAVE}"
    if raw[:3] == b"\x08\x01\x12":
        return f"it is a TensorFlow SavedModel: save the PyTorch model with {SAVE}"
    if raw[0] == 8 and len(raw) > 2 and raw[1] < 32 and raw[2] in _ONNX_FIELDS:
        return f"it is an ONNX model: save the PyTorch model that it was exported from with {SAVE}"
    if looks_like_safetensors(raw):
        return "it is a safetensors file that is damaged or cut short: copy it again"
    if raw[0] == 0x80 and len(raw) > 1 and 2 <= raw[1] <= 5:
        return f"it is a pickle, and loading one can run code: save the model with {SAVE}"
    return None


def _text(raw: bytes) -> str | None:
    try:
        raw[:256].decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if b"\0" in raw[:256] else "it is a text"


def _archive(raw: bytes) -> str:
    """Name a ZIP archive, which is what torch writes since 1.6."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            parts = archive.infolist()
    except Exception:  # zipfile raises many types
        return f"it is cut short or damaged: {len(raw):,} bytes without the directory at the end: copy it again"
    names = [part.filename for part in parts]
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "it is a TorchScript model, which holds code: save the weights with "
            "torch.save({'model_state_dict': torch.jit.load(OLD).state_dict(), 'config': config}, FILE)"
        )
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return f"it is a compressed ZIP archive{_content(names)}, which torch does not write"
    if not any(name.endswith("data.pkl") for name in names):
        return f"it is a ZIP archive without a PyTorch model{_content(names)}"
    return _objects(raw)


def _content(names: Iterable[str]) -> str:
    names = list(names)
    if any(name.endswith("model.weights.h5") for name in names):
        return " (a .keras model)"
    if any(name.endswith(".npy") for name in names):
        return " (a NumPy .npz)"
    if any("archive_format" in name or "models/model.json" in name for name in names):
        return " (a program of torch.export)"
    return ""


def _objects(raw: bytes) -> str:
    """Name the objects that keep an archive of torch from being plain data, found without making any."""
    try:
        import torch  # only where a file of PyTorch could not be read

        found = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(raw))
    except Exception:  # a damaged pickle: many types
        return "it is damaged: copy it again"
    if not found:
        return "it is damaged: copy it again"
    named = ", ".join(sorted(found)[:3])
    if any(name.startswith("torch.nn.modules") for name in found):
        own = ", ".join([name for name in sorted(found) if not name.startswith("torch.")][:1]) or named
        return f"it is a whole pickled model ({own}), and loading one runs code: save its weights with {SAVE}"
    return f"it holds objects of {named}, and making them can run code: save tensors and plain numbers only"
