"""The settings of all trainings, from defaults, a TOML or YAML file, and options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, overload

import msgspec
from msgspec import Meta

from core.errors import StartupError
from core.tasks.declaration import CellName
from core.training.extras import require

# The description of a type is what an error says is accepted.
Count = Annotated[int, Meta(ge=1, le=2**31, description="a whole number of 1 or more")]
CountOrNone = Annotated[int, Meta(ge=0, le=2**31, description="a whole number of 0 or more")]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a whole number from 0 to 2^63-1")]
Threads = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Rate = Annotated[float, Meta(gt=0, le=1, description="a number above 0, up to 1")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Dropout = Annotated[float, Meta(ge=0, le=0.8, description="a number from 0 to 0.8")]
Cost = Annotated[float, Meta(gt=0, le=1e9, description="a number above 0, up to 1e9")]
Clip = Annotated[float, Meta(ge=0, le=1e9, description="a number of 0 or more (0: no limit)")]
Minutes = Annotated[float, Meta(gt=0, le=1e6, description="minutes above 0")]
DeviceName = Annotated[str, Meta(pattern=r"^(cpu|cuda(:[0-9]{1,2})?)$", description="cpu, cuda or cuda:N")]
Flag = Annotated[bool, Meta(description="true or false")]
Optimizer = Annotated[Literal["adam", "adamw"], Meta(description="adam or adamw")]
Schedule = Annotated[
    Literal["constant", "plateau", "cosine", "one-cycle"], Meta(description="constant, plateau, cosine or one-cycle")
]
Initialisation = Annotated[
    Literal["constructor", "chrono", "kalman"], Meta(description="constructor, chrono or kalman")
]
Readout = Annotated[Literal["last", "ends", "attention"], Meta(description="last, ends or attention")]
Target = Annotated[Literal["label", "probability"], Meta(description="label or probability")]
Layers = Annotated[int, Meta(ge=1, le=4, description="a whole number from 1 to 4")]
Widths = Annotated[tuple[Count, ...], Meta(description="a list of layer widths, each 1 or more")]


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that all trainings share. `read_settings` makes them, and the values lie in their ranges.

    Raises:
        StartupError: mixed precision without CUDA.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Rate  # the highest of the schedule
    optimizer: Optimizer
    schedule: Schedule
    weight_decay: Share = 0.0
    gradient_clip: Clip = 1.0  # the largest norm of a gradient; 0: no limit
    patience: CountOrNone = 0  # epochs without improvement before training stops; 0: it does not
    seed: Seed = 0
    device: DeviceName = "cpu"
    threads: Threads = 1  # of torch on the CPU
    max_minutes: Minutes | None = None
    mixed_precision: Flag = False

    def __post_init__(self) -> None:
        if self.mixed_precision and self.device == "cpu":
            raise StartupError("mixed_precision is true and device is cpu: it works on cuda only")


class SignalSettings(TrainingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training of a SignalExtractionLSTM.

    Raises:
        StartupError: also weight decay on a filter that training must leave as it is.
    """

    epochs: Count = 10
    batch_size: Count = 64
    learning_rate: Rate = 1e-4
    optimizer: Optimizer = "adam"
    schedule: Schedule = "cosine"
    hidden_size: Count = 64
    num_layers: Count = 2
    dropout: Dropout = 0.0
    initialisation: Initialisation = "kalman"
    segment: Count = 250  # steps that a gradient goes back
    steps: Count | None = None  # of each sample that are trained on; None: all

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initialisation == "kalman" and self.weight_decay:
            raise StartupError(
                f"weight_decay is {self.weight_decay:g}: must be 0 with initialisation kalman, whose filter it detunes"
            )


class DefectSettings(TrainingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training of a SteelDefectLSTM."""

    epochs: Count = 12
    batch_size: Count = 64
    learning_rate: Rate = 2e-3
    optimizer: Optimizer = "adamw"
    weight_decay: Share = 1e-4
    schedule: Schedule = "one-cycle"
    hidden_size: Count = 64
    num_layers: Layers = 2
    bidirectional: Flag = True
    dropout: Dropout = 0.0
    readout: Readout = "attention"
    hidden_dims: Widths = (32, 16)
    classifier_dropout: Dropout = 0.0
    target: Target = "label"
    pos_weight: Cost | None = None  # of a defective cast in the loss; None: sound casts / defective casts
    cost_missed: Cost = 10.0  # of a defective cast without an alarm
    cost_false_alarm: Cost = 1.0


class TaskSettings(TrainingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training of a declared task. What is None here is as the table [train] of the task says, else by the data."""

    epochs: Count = 1000  # the time limit or the patience ends it before
    batch_size: Count = 32
    learning_rate: Rate = 3e-3
    optimizer: Optimizer = "adam"
    schedule: Schedule = "plateau"
    patience: CountOrNone = 6
    max_minutes: Minutes | None = 3.0
    cell: Annotated[CellName, Meta(description="LSTM or GRU")] | None = None
    hidden_size: Count | None = None
    num_layers: Layers | None = None
    segment: Count = 64  # samples that a gradient goes back


_SETTINGS: dict[str, type[SignalSettings] | type[DefectSettings] | type[TaskSettings]] = {
    "signal": SignalSettings,
    "defect": DefectSettings,
    "task": TaskSettings,
}


@overload
def read_settings(kind: Literal["signal"], path: Path | None = None, **given: Any) -> SignalSettings: ...
@overload
def read_settings(kind: Literal["defect"], path: Path | None = None, **given: Any) -> DefectSettings: ...
@overload
def read_settings(kind: Literal["task"], path: Path | None = None, **given: Any) -> TaskSettings: ...
def read_settings(
    kind: Literal["signal", "defect", "task"], path: Path | None = None, **given: Any
) -> SignalSettings | DefectSettings | TaskSettings:
    """The settings of one kind of training: defaults, over them the file's, over them those ``given``.

    Args:
        path: a .toml, .yaml or .yml file of keys and values; numbers may be strings (``1e-4`` is one in YAML).
        given: by field; None is not given.

    Raises:
        StartupError: naming the file, the key, the value and what is accepted.
    """
    settings = _SETTINGS[kind]
    values = _checked(_read(path), settings, f"{path}: ") if path else {}
    values |= _checked({key: value for key, value in given.items() if value is not None}, settings, "")
    made = settings(**values)
    if made.device != "cpu":
        from core.device import check_device  # loads torch

        check_device(made.device)
    return made


def _checked(values: Mapping[Any, Any], settings: type[TrainingSettings], source: str) -> dict[str, Any]:
    fields = {field.name: field for field in msgspec.structs.fields(settings)}
    checked = {}
    for key, value in values.items():
        if key not in fields:
            raise StartupError(f"{source}{key} is not a setting of this training: accepted are {', '.join(fields)}")
        try:
            checked[key] = msgspec.convert(value, fields[key].type, strict=False)
        except msgspec.ValidationError:
            raise StartupError(f"{source}{key} is {value!r}: must be {_accepted(fields[key].type)}") from None
    return checked


def _accepted(kind: Any) -> str:
    """Say which values the type of a field accepts; of a union with None, the other part's."""
    for part in (kind, *getattr(kind, "__args__", ())):
        for note in getattr(part, "__metadata__", ()):
            if isinstance(note, Meta) and note.description:
                return note.description
    return str(kind)


def _read(path: Path) -> Mapping[Any, Any]:
    """The keys and values of a settings file, unchecked."""
    readers = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
    if path.suffix.lower() not in readers:
        raise StartupError(f"{path}: a settings file must end in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StartupError(f"{path}: is not UTF-8 text") from error
    values = readers[path.suffix.lower()](path, text)
    if not isinstance(values, Mapping):
        raise StartupError(f"{path}: must hold keys and values, for instance epochs and learning_rate")
    return values


def _toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StartupError(f"{path}: is not TOML: {error}") from error


def _yaml(path: Path, text: str) -> Any:
    yaml = require("yaml")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise StartupError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    return {} if values is None else values  # None: an empty file
