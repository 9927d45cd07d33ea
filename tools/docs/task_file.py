"""The page of the keys of a task file, from the types that read it."""

from __future__ import annotations

from core.tasks.keys import APPLIES, TABLES, Keys, keys_of
from core.tasks.names import OF_FILES, OF_RECORDS
from tools.docs.tables import code, page, table

EXAMPLE = """\
# pump.toml: twelve vibration channels, a recurrent network from anywhere, a forecast and an alarm
name = "pump"
kind = "step"

[fields]
vibration = { length = 12, unit = "mm/s", range = [-200, 200], normal = [-25, 25], alias = ["vib"] }

[rules]
gap_policy = "hold"

[model]
file = "pump.onnx"
input = "x"
states = { h0 = "hn" }

[outputs]
forecast = { tensor = "y" }
score = { apply = "forecast_error", of = "forecast" }
alarm = { apply = "above", of = "score", threshold = 3.5, clear = 3.0 }
"""
INTRODUCTION = """
A task is declared in one file, in [TOML](https://toml.io). The two tasks that ship are declared in the same way:
[signal.toml](../../core/tasks/signal.toml) and [casting.toml](../../core/tasks/casting.toml).
`caststream task describe FILE` shows what follows from a file, and `caststream task new pump --from history.csv`
writes one to begin with. An unknown key, a value that is not accepted, or a name that is taken is refused, with a line
that says what to write.
"""
RESERVED = f"""
A field or an output cannot have a name that records use: {", ".join(map(code, OF_RECORDS))}; nor one that would be read
as one of them, such as `seq`, `ts` or `isLast`. A field cannot be called {", ".join(map(code, OF_FILES))}, which are
other parts of a data file. All names differ from each other, aliases too. If a sender uses such a name, give the field
another name and map it where the samples come from.
"""
_TITLES = {"": "Above the tables"}


def task_file_page() -> str:
    """Every table of a task file with its keys."""
    sections = [section(name, keys) for name, keys in TABLES.items()]
    applies = table(("`apply`", "gives"), [(code(name), meaning) for name, meaning in APPLIES.items()])
    return page(
        "Task files",
        INTRODUCTION,
        f"```toml\n{EXAMPLE}```",
        *sections,
        "## Apply",
        applies,
        "## Names",
        RESERVED,
    )


def section(name: str, keys: type[Keys]) -> str:
    """One table: what it is, and its keys."""
    rows = [
        (code(key.name), "needed" if key.default is None else key.default, key.accepted, key.meaning)
        for key in keys_of(keys)
    ]
    return "\n\n".join(
        [
            f"## {_TITLES.get(name) or code(f'[{name}]')}",
            (keys.__doc__ or "").strip(),
            table(("key", "default", "accepts", "meaning"), rows),
        ]
    )
