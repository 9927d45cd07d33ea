"""A task as it is declared: what a sample holds, which model reads it, what comes out, and where all of it goes.

`core.tasks.reading` makes these values, so they fit each other: names are unique, ranges are in order, files exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

Kind = Literal["step", "window"]
"""A model that takes one step per sample, or one that looks at a window of samples."""
WhenMissing = Literal["refuse", "hold"]
WhereUnknown = Literal["unknown"]
"""A column beside the fields, which a model learns, may be empty anywhere; nothing is held there."""
GapPolicy = Literal["step", "hold", "reset"]
Learn = Literal["forecast", "regress", "classify"]
"""The aim of a training of the task: a forecast of the next sample, a target per sample, or a label per sequence."""
CellName = Literal["LSTM", "GRU"]
Constant = bool | int | float | tuple["Constant", ...]
"""A number, or an array of them."""

LARGEST_VALUE = 1e6
"""The range of a field that declares none, on either side of zero."""


@dataclass(frozen=True, slots=True)
class Field:
    """One named input of a sample. ``length`` is None for one number, else the numbers of an array.

    ``columns`` are its names in a CSV, one for each number of a record; ``aliases`` its other names in a record. A
    value outside of ``low`` to ``high`` is refused, one outside of ``normal`` counted. With ``overlap`` the last so
    many numbers of the record before stand in front of those of this one.
    """

    name: str
    length: int | None = None
    columns: tuple[str, ...] = ()
    unit: str = ""
    aliases: tuple[str, ...] = ()
    low: float = -LARGEST_VALUE
    high: float = LARGEST_VALUE
    normal: tuple[float, float] | None = None
    missing: WhenMissing | WhereUnknown = "refuse"
    overlap: int = 0

    @property
    def numbers(self) -> int:
        """The numbers that a record holds of it."""
        return 1 if self.length is None else self.length

    @property
    def width(self) -> int:
        """The numbers that it gives the model."""
        return self.numbers + self.overlap


@dataclass(frozen=True, slots=True)
class Output:
    """One named result.

    It is made of what ``tensor`` names, an output of the model, or of ``of``, an output that stands above it: one of
    the two is set, the other one "" or None. ``apply`` says what is computed of that. ``names`` are those of its
    numbers, ``labels`` those of its classes. One without ``publish`` is computed and does not stand in a record.
    """

    name: str
    tensor: str
    names: tuple[str, ...] = ()
    unit: str = ""
    apply: str | None = None
    of: str | None = None
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    shift: float = 0.0
    threshold: float | None = None
    clear: float | None = None
    changes: bool = False
    least: tuple[float, ...] = ()
    horizon: int | None = None
    publish: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """The model's file, and how the names in its graph are bound.

    ``input`` is the graph's name for the fields; ``states`` says for each input of state which output becomes it;
    ``constants`` are further inputs that never change. ``example`` is a file of inputs and outputs to compare with.
    The mappings must not be changed.
    """

    file: Path
    input: str | None
    states: Mapping[str, str]
    constants: Mapping[str, Constant]
    example: Path | None


@dataclass(frozen=True, slots=True)
class Topics:
    """Names on the broker, without the prefix and the application's id."""

    source: str
    output: str
    table: str


@dataclass(frozen=True, slots=True)
class Window:
    """In samples: the most that an output looks at, those before the first output, and those between two."""

    length: int
    first: int
    hop: int


@dataclass(frozen=True, slots=True)
class TaskRules:
    """The rules of this task; None is the worker's setting of that name."""

    gap_policy: GapPolicy | None = None
    max_gap: int | None = None
    idle_timeout: float | None = None
    max_step_jump: int | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """The making of the task's model by ``train``; it moves no output of a model that is there.

    ``targets`` are columns or datasets that are learnt, ``columns`` the names in a table of samples of what is known
    under other names. Sizes that are None follow from the data. ``horizon`` counts samples, ``false_alarms`` are those
    of a stream per week.
    """

    learn: Learn
    targets: tuple[str, ...] = ()
    columns: Mapping[str, str] = made(default_factory=dict)
    cell: CellName = "LSTM"
    hidden_size: int | None = None
    num_layers: int | None = None
    horizon: int = 30
    false_alarms: float = 1.0


@dataclass(frozen=True, slots=True)
class Declaration:
    """One task. The order of ``fields`` is that of the model's input; ``window`` is set for the kind window alone."""

    name: str
    kind: Kind
    topics: Topics
    fields: tuple[Field, ...]
    model: Model
    outputs: tuple[Output, ...]
    window: Window | None
    rules: TaskRules
    path: Path = Path()
    """The file that declares it."""
    training: Training = Training("forecast")

    @property
    def width(self) -> int:
        """F: the numbers that the model reads of a sample."""
        return sum(field.width for field in self.fields)

    @property
    def published(self) -> tuple[Output, ...]:
        """The outputs that stand in a record."""
        return tuple(output for output in self.outputs if output.publish)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in a CSV of the numbers of a record, in order."""
        return tuple(column for field in self.fields for column in field.columns)

    def slices(self) -> dict[str, slice]:
        """The place of each field among the numbers of a record."""
        ends = list(accumulate(field.numbers for field in self.fields))
        return {field.name: slice(end - field.numbers, end) for field, end in zip(self.fields, ends, strict=True)}

    def places(self) -> dict[str, slice]:
        """The place of each field's own numbers among the F that the model reads; those that overlap stand before."""
        ends = list(accumulate(field.width for field in self.fields))
        return {field.name: slice(end - field.numbers, end) for field, end in zip(self.fields, ends, strict=True)}

    def by_field(self, numbers: Sequence[float]) -> dict[str, Any]:
        """The fields of a record as its value holds them, of its numbers in order."""
        held: dict[str, Any] = {}
        place = 0
        for field in self.fields:
            end = place + field.numbers
            held[field.name] = numbers[place] if field.length is None else list(numbers[place:end])
            place = end
        return held
