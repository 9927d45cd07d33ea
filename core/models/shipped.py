"""The places of the checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ModelKind = Literal["signal", "defect"]


def checkpoint_path(kind: ModelKind) -> Path:
    """The shipped checkpoint of one kind of model; whether it is there, ``load_model`` tells."""
    return Path(__file__).resolve().parent.parent / "checkpoints" / f"{kind}.safetensors"
