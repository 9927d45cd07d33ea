"""A folder that hides PyTorch from the programs that have it in PYTHONPATH: their import of it fails."""

from __future__ import annotations

from pathlib import Path

_MISSING = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"


def hide_torch(folder: Path) -> Path:
    """Make the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torch.py").write_text(_MISSING)
    return folder
