"""Task files: whatever stands in one, it is read, or refused with one line; never anything else."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from random import Random

from core.errors import StartupError
from core.tasks import reading
from core.tasks.declaration import Declaration
from core.tasks.keys import TABLES, keys_of
from core.tasks.names import OF_FILES, OF_RECORDS
from core.tasks.toml_file import parse_tables
from tests.fuzz.mutation import Mutator

PUMP = """\
name = "pump"
kind = "step"
[fields]
vibration = { length = 12, unit = "mm/s", range = [-200, 200], normal = [-25, 25], alias = ["vib"], overlap = 2 }
speed = { columns = ["rpm"], missing = "hold" }
[rules]
gap_policy = "hold"
idle_timeout = 60
[model]
file = "pump.onnx"
input = "x"
states = { h0 = "hn", "c0" = "cn" }
constants = { sr = 16000, mask = [[1, 0.5], [true, 0]] }
[outputs]
forecast = { tensor = "y", names = ["de_h", "de_v", "nde_h"] }
score = { apply = "forecast_error", of = "forecast" }
alarm = { apply = "above", of = "score", threshold = 3.5, clear = 3 }
"""
WINDOWS = """\
name = "motion"
kind = "window"
topics = { source = "a", output = "b", table = "c" }
[fields.accelerometer]
length = 3
[fields."gyro"]
[window]
length = 100
first = 100
hop = 10
[model]
file = "motion.onnx"
[outputs]
p = { tensor = "logits", apply = "softmax", labels = ["run", "walk"] }
best = { apply = "label", of = "p" }
most = { tensor = "attention", apply = "argmax_step" }
"""
SHIPPED = [
    Path(reading.__file__).with_name(f"{name}.toml").read_text().replace(f'name = "{name}"', 'name = "own"')
    for name in reading.SHIPPED
]
_WORDS = [key.name for table in TABLES.values() for key in keys_of(table)] + [*TABLES, *OF_RECORDS, *OF_FILES]
_VALUES = (
    *(
        '""',
        "'a'",
        '"a b"',
        '"\\u0000"',
        '"""\n"""',
        "0",
        "-1",
        "1_000",
        "0x7fffffffffffffffff",
        "1e400",
        "-0.0",
        "nan",
    ),
    *(
        "inf",
        "-inf",
        "true",
        "1979-05-27",
        "07:32:00",
        "1979-05-27T00:32:00.999999-07:00",
        "[]",
        "{}",
        "[[]]",
        "[1, 2]",
    ),
    *("[2, 1]", "[nan, 1]", "{ a = {} }", '["a", "a"]', "[1, [2]]", "9" * 400, '"step"', '"window"', "16384", "0.1"),
)
_PIECES = (
    "=",
    " = ",
    "\n",
    "[",
    "]",
    "[[",
    "]]",
    "{ ",
    " }",
    ", ",
    '"',
    "'",
    "#",
    ".",
    "\\",
    "a.b.c = 1\n",
    "\ufeff",
    "é",
)
_MUTATOR = Mutator(
    [text.encode() for text in (PUMP, PUMP, WINDOWS, WINDOWS, *SHIPPED)],
    [piece.encode() for piece in (*_WORDS, *_VALUES, *_PIECES)],
)
_FILE = Path("no such folder", "task.toml")
_LONGEST = 1_500
"""Characters of a message; the longest lists every key."""


def task_file(random: Random) -> bytes:
    """A task file: with bytes changed, or with another value or name in one place, so that it still is TOML."""
    if random.random() < 0.5:
        return _MUTATOR.input(random)
    text = random.choice((PUMP, WINDOWS))
    for _ in range(random.choice((1, 1, 2, 3))):
        text = _with_another(text, random)
    return text.encode()


def _with_another(text: str, random: Random) -> str:
    names = random.random() < 0.3
    places = list(re.finditer(r"\b[a-z_0-9]+(?= = )" if names else r"(?<= = )(\"[^\"]*\"|[^\s,\[{]+|\[[^\]]*\])", text))
    place = random.choice(places)
    return text[: place.start()] + random.choice(_WORDS if names else _VALUES) + text[place.end() :]


def check_task(raw: bytes, random: Random) -> None:
    """It is read into a declaration that fits together, or refused with one line that names the file."""
    try:
        task = reading.declare(_FILE, parse_tables(_FILE, raw), need_files=random.random() < 0.1)
    except StartupError as error:
        said = str(error)
        assert said.startswith(f"{_FILE}: "), said
        assert "\n" not in said, said
        assert len(said) < _LONGEST, said
    else:
        _check_fits(task)


def _check_fits(task: Declaration) -> None:
    names = [field.name for field in task.fields] + [output.name for output in task.outputs]
    aliases = [alias for field in task.fields for alias in field.aliases]
    columns = [column for field in task.fields for column in field.columns]
    assert task.fields, "no field"
    assert task.outputs, "no output"
    assert len({*names, *aliases}) == len(names) + len(aliases)
    assert len({*columns}) == len(columns) == sum(field.numbers for field in task.fields)
    assert not {*names} & {*OF_RECORDS}
    for field in task.fields:
        assert -math.inf < field.low < field.high < math.inf
        assert field.normal is None or field.low <= field.normal[0] < field.normal[1] <= field.high
        assert 0 <= field.overlap <= (field.length or 0)
    for place, output in enumerate(task.outputs):
        assert (output.of is None) == bool(output.tensor)
        assert output.of is None or output.of in [above.name for above in task.outputs[:place]]
    assert (task.window is None) == (task.kind == "step")
    assert task == dataclasses.replace(task)
