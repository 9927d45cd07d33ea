"""Models, state, windows and data of caststream. Pure: no Kafka, no Faust, no clock.

The public classes load on first use, so that the wire codecs (``core.wire.records``) start without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.data.datasets import CastingSequenceDataset, SignalDataset
    from core.data.loaders import DataLoaderFactory
    from core.models.defect_lstm import SteelDefectLSTM
    from core.models.factory import ModelFactory
    from core.models.processor import StatefulProcessor
    from core.models.signal_lstm import SignalExtractionLSTM

__all__ = [
    "CastingSequenceDataset",
    "DataLoaderFactory",
    "ModelFactory",
    "SignalDataset",
    "SignalExtractionLSTM",
    "StatefulProcessor",
    "SteelDefectLSTM",
]

_MODULES = {
    "CastingSequenceDataset": "core.data.datasets",
    "DataLoaderFactory": "core.data.loaders",
    "ModelFactory": "core.models.factory",
    "SignalDataset": "core.data.datasets",
    "SignalExtractionLSTM": "core.models.signal_lstm",
    "StatefulProcessor": "core.models.processor",
    "SteelDefectLSTM": "core.models.defect_lstm",
}


def __getattr__(name: str) -> Any:
    """Load a public class on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'core' has no attribute '{name}'")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        told = f"core.{name} needs PyTorch, which is not installed: pip install 'caststream[train]'"
        raise ModuleNotFoundError(told, name="torch") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
