"""Every key of a task file: its type, what is accepted, what it means. Reading, errors and the reference follow.

The description of a type is what an error says is accepted.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, Meta
from msgspec.structs import FieldInfo

from core.tasks.declaration import LARGEST_VALUE, CellName, GapPolicy, Kind, Learn, WhenMissing

LONGEST_ARRAY = 16_384
"""Numbers of one field. Of all fields together there may be as many."""
_TEXT = '1 to 100 characters, no \\ and no "'
LONGEST_HORIZON = 100_000
DEFAULT_HORIZON = 30
LARGEST_NUMBER = 3.4028234663852886e38
"""The largest float32, which is what models read."""

FieldName = Annotated[
    str, Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_]{0,63}\Z", description="a letter, then up to 63 letters, digits and '_'")
]
TopicPart = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
        description="a letter or digit, then up to 99 letters, digits, '.', '_' and '-'",
    ),
]
Text = Annotated[str, Meta(pattern=r'\A[^\x00-\x1f"\\\x7f]{1,100}\Z', description=_TEXT)]
Unit = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]{0,30}\Z", description="up to 30 characters on one line")]
FileName = Annotated[str, Meta(min_length=1, max_length=1_000, description="a path, relative to this file")]
Texts = Annotated[tuple[Text, ...], Meta(description=f"a list of names, each {_TEXT}")]
FiniteNumber = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER, description="a finite number")]
ValueRange = Annotated[
    tuple[FiniteNumber, FiniteNumber], Meta(description="a list of two finite numbers, the lower one first")
]
Length = Annotated[
    int, Meta(ge=1, le=LONGEST_ARRAY, description=f"a whole number from 1 to {LONGEST_ARRAY:,}, or left out")
]
Overlap = Annotated[int, Meta(ge=0, le=LONGEST_ARRAY, description="a whole number from 0 to the field's length")]
SampleCount = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100,000")]
Horizon = Annotated[int, Meta(ge=1, le=LONGEST_HORIZON, description="a whole number of steps from 1 to 100,000")]
Switch = Annotated[bool, Meta(description="true or false")]
LeastStds = Annotated[
    tuple[Annotated[float, Meta(ge=0, le=LARGEST_NUMBER)], ...],
    Meta(description="a list of numbers from 0 on, one for each number of the forecast"),
]
Apply = Annotated[
    Literal[
        "sigmoid",
        "softmax",
        "label",
        "argmax_step",
        "above",
        "error",
        "forecast_error",
        "forecast",
        "expected",
        "surprise",
        "likelihood_ratio",
        "leading",
    ],
    Meta(
        description="sigmoid, softmax, label, argmax_step, above, error, forecast_error, forecast, expected, surprise, "
        "likelihood_ratio or leading"
    ),
]
APPLIES = {
    "sigmoid": "1 / (1 + exp(-(`scale` * x + `shift`))) of each number.",
    "softmax": "The probability of each class: exp(x) over the sum of all exp(x). `labels` name the classes.",
    "label": "The label of the largest number.",
    "argmax_step": "The step of the window at which the number is largest. For tasks of the kind `window`.",
    "above": "True from `threshold` on, until the number falls below `clear`. A window is judged by itself. Where "
    "there is no forecast yet, false; where the model gave no number, null, and nothing changes.",
    "error": "For a reconstruction: the root mean square of the differences between the output's n numbers and the "
    "first n numbers that the model reads of the sample, in the order of the fields. In a window: of all its samples, "
    "with n numbers for each.",
    "forecast_error": "For a forecast: the root mean square of the differences between the output's n numbers of the "
    "step before and the first n numbers that the model reads of this sample; null at the first step of a sequence. "
    "For tasks of the kind `step`.",
    "forecast": "For a model that forecasts the next sample: of 2n numbers, n means and then n natural logarithms of "
    "variances, the n means in the units of the fields. n is the number of `names`. For tasks of the kind `step`.",
    "expected": "Of a `forecast`: the n means that were forecast for this sample one step before; null at the first "
    "step of a sequence.",
    "surprise": "Of a `forecast`: how far this sample is from what was expected, the root mean square of n distances z "
    "in standard deviations; about 1 is normal. Null at the first step of a sequence.",
    "likelihood_ratio": "Of a `forecast`: by how many nats the last samples are less likely than normal ones, of the "
    "number where that is most: (m^2 + v - 1 - ln v) / 2, where m and v are the mean and the variance of its distances "
    "z, averaged over three spans: `horizon` steps, a third and a tenth of them. It begins at 0; below 1 is normal as "
    "a rule, 19 is the most. Null at the first step of a sequence.",
    "leading": "Of a `likelihood_ratio`: the name of the number that decided it, of equal ones the first.",
}
"""The meaning of each `apply`."""

K = TypeVar("K", bound="Keys")


def means(meaning: str, default: str = "") -> Meta:
    """Note what a key means, and in words its default where it is made of other keys."""
    return Meta(extra={"meaning": meaning, "default": default})


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one table."""


class TaskKeys(Keys, frozen=True, kw_only=True):
    """They stand first, before any table."""

    name: Annotated[
        TopicPart, means("Name of the task, on the command line, in metrics and in the names of its topics.")
    ]
    kind: Annotated[
        Annotated[Kind, Meta(description="step or window")],
        means(
            "`step`: the model takes one step per sample and carries its state. "
            "`window`: it looks at a window of samples at a time."
        ),
    ]


class TopicKeys(Keys, frozen=True, kw_only=True):
    """Names on the broker. The settings `topic_prefix` and `app_id` are put before them."""

    source: Annotated[TopicPart | None, means("The topic that samples are read from.", "NAME-samples")] = None
    output: Annotated[TopicPart | None, means("The topic that outputs are published to.", "NAME-outputs")] = None
    table: Annotated[
        TopicPart | None, means("The table of states; its changelog is `<app_id>-<table>-changelog`.", "NAME-states")
    ] = None


class FieldKeys(Keys, frozen=True, kw_only=True):
    """One named input of a sample. The order of the fields is the order of the model's input."""

    length: Annotated[Length | None, means("The field is an array of so many numbers.", "one number, no array")] = None
    columns: Annotated[
        Texts | None,
        means("Its names in a CSV, one for each number.", "the field's name; of an array NAME_1, NAME_2 and so on"),
    ] = None
    unit: Annotated[Unit, means("Unit, for people: in errors, plots and the schema.")] = ""
    alias: Annotated[
        Texts, means("Other names of the field in a record, for senders that cannot be changed.", "none")
    ] = ()
    range: Annotated[
        ValueRange,
        means(
            "A value outside of it makes the record a dead letter with the reason `out_of_range`.", "within ±1,000,000"
        ),
    ] = (-LARGEST_VALUE, LARGEST_VALUE)
    normal: Annotated[
        ValueRange | None, means("A value outside of it is counted, and reported once per field.", "none")
    ] = None
    missing: Annotated[
        Annotated[WhenMissing, Meta(description="refuse or hold")],
        means("A record without the field: `refuse` makes it a dead letter, `hold` takes the stream's last value."),
    ] = "refuse"
    overlap: Annotated[
        Overlap, means("Of an array: the last so many numbers of the record before are put in front of it.")
    ] = 0


class RuleKeys(Keys, frozen=True, kw_only=True):
    """Rules of this task alone. A key that is left out is the worker's setting of that name."""

    gap_policy: Annotated[
        Annotated[GapPolicy, Meta(description="step, hold or reset")] | None,
        means(
            "What to do when steps are missing: continue, repeat the last sample, or start from zero.", "the setting"
        ),
    ] = None
    max_gap: Annotated[
        Annotated[int, Meta(ge=0, le=10_000, description="a whole number from 0 to 10,000")] | None,
        means("Largest number of missing steps that `hold` fills.", "the setting"),
    ] = None
    idle_timeout: Annotated[
        Annotated[float, Meta(ge=0.1, le=31_536_000, description="seconds from 0.1 to 31,536,000")] | None,
        means("Seconds of silence after which a stream starts again from zero.", "the setting"),
    ] = None
    max_step_jump: Annotated[
        Annotated[int, Meta(ge=1, le=2**53 - 1, description="a whole number from 1 to 2^53-1")] | None,
        means("Largest number of missing steps; a record beyond it is refused.", "the setting"),
    ] = None


class WindowKeys(Keys, frozen=True, kw_only=True):
    """The windows of a task of the kind `window`. All numbers are samples."""

    length: Annotated[SampleCount, means("The most samples that an output looks at.")] = 500
    first: Annotated[
        SampleCount | None, means("Samples of a sequence before its first output.", "100, or `length` if that is less")
    ] = None
    hop: Annotated[SampleCount, means("Samples between two outputs.")] = 30


class ModelKeys(Keys, frozen=True, kw_only=True):
    """The model."""

    file: Annotated[
        FileName,
        means(
            "The model's file: an ONNX graph, weights of an LSTM or GRU of a step task, or a checkpoint of caststream, "
            "of a window task with any number of fields and classes."
        ),
    ]
    input: Annotated[Text | None, means("Name of the graph's input that takes the fields.", "the one that is left")] = (
        None
    )
    states: Annotated[
        Annotated[dict[str, Text], Meta(description="a table of the graph's inputs and the outputs that become them")],
        means(
            "Each input of state with the output that is its next value.",
            "the names that pair: X with new_X, X_next, Xn or Xout",
        ),
    ] = msgspec.field(default_factory=dict)
    constants: Annotated[
        Annotated[dict[str, Any], Meta(description="a table of the graph's inputs with a number or an array each")],
        means("Further inputs of the graph, which never change.", "none"),
    ] = msgspec.field(default_factory=dict)
    example: Annotated[
        FileName | None,
        means("Inputs and outputs of some 200 steps (.npz) from your own framework, to compare with.", "none"),
    ] = None


class OutputKeys(Keys, frozen=True, kw_only=True):
    """One named result, in the order in which they stand in a record."""

    tensor: Annotated[Text | None, means("The output of the model that it is made of.", "the output's name")] = None
    of: Annotated[
        FieldName | None, means("The output that it is made of in place of a tensor; that one stands above it.", "none")
    ] = None
    apply: Annotated[Apply | None, means("What is computed of it.", "nothing: the numbers as they are")] = None
    names: Annotated[
        Texts,
        means(
            "Names of its numbers: they are published as an object. Without names as an array.",
            "none; with `forecast` the columns of all fields",
        ),
    ] = ()
    unit: Annotated[Unit, means("Unit, for people.")] = ""
    labels: Annotated[Texts, means("With `softmax` and `label`: names of the classes.", "none")] = ()
    scale: Annotated[FiniteNumber, means("With `sigmoid`: x is multiplied by it first.")] = 1.0
    shift: Annotated[FiniteNumber, means("With `sigmoid`: it is added then.")] = 0.0
    threshold: Annotated[FiniteNumber | None, means("With `above`: true from this value on.", "none: it is needed")] = (
        None
    )
    clear: Annotated[
        FiniteNumber | None,
        means(
            "With `above`, of tasks of the kind `step`: once true, false again only below this value.", "`threshold`"
        ),
    ] = None
    changes: Annotated[
        Switch, means("With `forecast`: its means are changes from the sample that the forecast is made at.")
    ] = False
    least: Annotated[
        LeastStds,
        means("With `forecast`: the least standard deviation of each number, in the units of the fields.", "0 of each"),
    ] = ()
    horizon: Annotated[
        Horizon | None, means("With `likelihood_ratio`: steps that it looks back.", f"`{DEFAULT_HORIZON}`")
    ] = None
    publish: Annotated[
        Switch,
        means(
            "False: it is computed, for those that are made of it, and does not stand in a record. For tasks of the "
            "kind `step`."
        ),
    ] = True


class TrainKeys(Keys, frozen=True, kw_only=True):
    """The choices of `caststream train` for a model. They move no output of a model that is there."""

    learn: Annotated[
        Annotated[Learn, Meta(description="forecast, regress or classify")] | None,
        means(
            "`forecast`: the next sample, for an anomaly score. `regress`: `targets`, at each sample. "
            "`classify`: a label of each sequence.",
            "`forecast` for steps, `classify` for windows",
        ),
    ] = None
    targets: Annotated[Texts, means("Columns or datasets of the history that are learnt.", "none")] = ()
    columns: Annotated[
        Annotated[dict[str, Text], Meta(description="a table of names that caststream knows and those in the file")],
        means("Other names in the history: of `stream`, `sequence`, `step`, `timestamp` or a field's column.", "none"),
    ] = msgspec.field(default_factory=dict)
    cell: Annotated[Annotated[CellName, Meta(description="LSTM or GRU")], means("The kind of recurrent cell.")] = "LSTM"
    hidden_size: Annotated[
        Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1,024")] | None,
        means("Hidden units of each layer.", "16 to 64, by the data"),
    ] = None
    num_layers: Annotated[
        Annotated[int, Meta(ge=1, le=4, description="a whole number from 1 to 4")] | None,
        means("Recurrent layers.", "1 or 2, by the data"),
    ] = None
    horizon: Annotated[SampleCount, means("Samples over which the anomaly score looks back.")] = 30
    false_alarms: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"\A[0-9]{1,9}(\.[0-9]{1,9})?/(hour|day|week|month|year)\Z",
                description="a number above 0 and a time, such as 1/week or 0.5/day",
            ),
        ],
        means("The most false alarms of a stream, on average, for which the threshold is chosen."),
    ] = "1/week"


TABLES: dict[str, type[Keys]] = {
    "": TaskKeys,
    "topics": TopicKeys,
    "fields.NAME": FieldKeys,
    "rules": RuleKeys,
    "window": WindowKeys,
    "model": ModelKeys,
    "outputs.NAME": OutputKeys,
    "train": TrainKeys,
}
"""The tables of a file and their keys; NAME stands for names of the user's own."""


class Key(NamedTuple):
    """One key of a table, in words. ``default`` is None where the key is needed."""

    name: str
    type: Any
    accepted: str
    meaning: str
    default: str | None


@cache
def keys_of(table: type[Keys]) -> tuple[Key, ...]:
    """The keys of a table, in order."""
    return tuple(map(_key, msgspec.structs.fields(table)))


def _key(field: FieldInfo) -> Key:
    extra = next(note.extra for note in field.type.__metadata__ if note.extra)
    needed = field.default is NODEFAULT and field.default_factory is NODEFAULT
    default = None if needed else extra["default"] or _written(field.default)
    return Key(field.name, field.type, accepted(field.type), extra["meaning"], default)


def accepted(kind: Any) -> str:
    """Say what a type accepts; of a union with None, its other part."""
    origin = getattr(kind, "__origin__", None)
    for part in (kind, *getattr(origin, "__args__", ())):
        for note in getattr(part, "__metadata__", ()):
            if note.description:
                return str(note.description)
    raise AssertionError(f"{kind} has no description")


def fits(value: Any, kind: Any) -> bool:
    """True if a value is accepted."""
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True


def _written(value: Any) -> str:
    """A default as it would stand in the file."""
    return f"`{msgspec.json.encode(value).decode()}`"
