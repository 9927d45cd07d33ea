"""A trained model as plain arrays and plain data: what runs it without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arrays import Float32s
from core.errors import StartupError
from core.models.content import CheckpointError, read_content
from core.models.defect_config import read_config
from core.models.described import Around, around, configured
from core.models.fingerprint import fingerprint_of
from core.models.finite import as_array
from core.models.shapes import fitted, weight_shapes
from core.models.shipped import ModelKind
from core.models.signal_config import DEFAULTS
from core.tasks.reading import shipped

if TYPE_CHECKING:
    from core.models.fingerprint import AnyModel

CLASSES: Mapping[ModelKind, str] = {"signal": "SignalExtractionLSTM", "defect": "SteelDefectLSTM"}
WIDTHS: Mapping[ModelKind, int] = {"signal": shipped("signal").width, "defect": shipped("casting").width}
"""Numbers of a record of the task that a kind of model is for."""


@dataclass(frozen=True)
class ModelWeights:
    """All of a model that decides its outputs.

    Args:
        kind: of the model.
        config: of a signal model its four sizes, of a defect model its sections, complete.
        weights: every array of its state dict, by PyTorch's names, float32.
        calibration: ``a`` and ``b`` of the probability, if it has them.
        input_statistics: ``mean`` and ``std`` by which inputs are standardised, if they are.
        training_ranges: as `core.models.ranges` reads them, if they are known.
        fingerprint: its name in outputs.
    """

    kind: ModelKind
    config: dict[str, Any]
    weights: dict[str, Float32s] = field(repr=False)
    calibration: dict[str, float] | None
    input_statistics: dict[str, list[float]] | None
    training_ranges: dict[str, Any] | None
    fingerprint: str

    @property
    def input_size(self) -> int:
        """F."""
        return int(self.weights["lstm.weight_ih_l0"].shape[1])

    @property
    def outputs(self) -> int:
        """K, the numbers that it gives."""
        return read_config(self.config).outputs if self.kind == "defect" else 1


def read_weights(path: Path | str, kind: ModelKind) -> ModelWeights:
    """The weights of a checkpoint, ready for records: of a safetensors file without PyTorch, which reads all others.

    Raises:
        StartupError: one line naming the file: missing, not a checkpoint, another kind of model, another input; or a
            file of PyTorch, and that is not installed.
    """
    path = Path(path)
    try:
        found = weights_in(path, read_content(path))
    except FileNotFoundError:
        raise StartupError(no_such_file(path, kind)) from None
    except CheckpointError as error:
        raise StartupError(" ".join(str(error).split())) from error
    check_use(path, kind, found.kind, found.input_size, found.outputs)
    return found


def weights_in(path: Path, content: Mapping[str, Any]) -> ModelWeights:
    """The weights in a checkpoint's content.

    Raises:
        CheckpointError: they are not those of a model, of its configuration, or of the stored fingerprint.
    """
    try:
        kind, config = configured(content)
        if kind == "defect":
            config = read_config(config).sections()
        weights = fitted(content["model_state_dict"], weight_shapes(kind, config))
        beside = around(content, weights["lstm.weight_ih_l0"].shape[1])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    found, stored = _named(kind, config, weights, beside), content.get("fingerprint")
    if stored is not None and stored != found.fingerprint:
        raise CheckpointError(f"{path}: {other_weights(found.fingerprint, stored)}")
    return found


def weights_of(model: AnyModel | ModelWeights) -> ModelWeights:
    """The weights of a PyTorch model as they are now; those that are given come back as they are."""
    if isinstance(model, ModelWeights):
        return model
    settings = getattr(model, "settings", None)
    kind: ModelKind = "signal" if settings is None else "defect"
    config = {name: getattr(model, name) for name in DEFAULTS} if settings is None else settings.sections()
    weights = {name: as_array(name, tensor) for name, tensor in model.state_dict().items()}
    beside = Around(model.calibration, model.input_statistics, model.training_ranges)
    return _named(kind, config, fitted(weights, weight_shapes(kind, config)), beside)


def _named(kind: ModelKind, config: dict[str, Any], weights: dict[str, Float32s], beside: Around) -> ModelWeights:
    name = fingerprint_of(kind, config, weights, beside.calibration, beside.input_statistics)
    return ModelWeights(
        kind, config, weights, beside.calibration, beside.input_statistics, beside.training_ranges, name
    )


def check_use(path: Path | str, wanted: ModelKind, found: ModelKind, input_size: int, outputs: int) -> None:
    """Raise StartupError where a file's model is of another kind, or for other records."""
    if found != wanted:
        raise StartupError(f"{path}: holds a {CLASSES[found]}, expected a {wanted} model ({CLASSES[wanted]})")
    if input_size != WIDTHS[wanted]:
        raise StartupError(f"{path}: the model reads {input_size} numbers per step, records have {WIDTHS[wanted]}")
    if outputs != 1:
        raise StartupError(f"{path}: the model has {outputs} logits, of classes of its own: here it must have one")


def no_such_file(path: Path | str, kind: ModelKind) -> str:
    """Return the line about a checkpoint that is not there."""
    return f"{path}: no such file, expected a {kind} model ({CLASSES[kind]})"


def other_weights(found: str, stored: str) -> str:
    """Return the words about weights that are not those of the stored fingerprint."""
    return f"its weights have fingerprint {found}, the file says {stored}"
