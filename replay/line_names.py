"""The names of a task's fields in lines of text: those of columns in a CSV, those of fields in JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.callbacks import OnNote
from core.data.csv.header import Columns, task_columns
from core.data.csv.names import Renamed
from core.errors import RecordError
from core.tasks.declaration import Declaration, Field
from core.wire.samples import takes_end

_OPTIONAL = ("stream", "sequence", "step", "timestamp_ms", "timestamp", "time")


@dataclass(frozen=True)
class LineNames:
    """The names of one task."""

    columns: Columns
    fields: tuple[Field, ...]
    common: tuple[str, ...]
    """Fields that stand beside those of the task in JSON."""

    @classmethod
    def of(cls, task: Declaration) -> LineNames:
        """The names of a task."""
        end = ("end",) if takes_end(task) else ()
        columns = task_columns(task, (*_OPTIONAL, *end))
        return cls(columns, task.fields, ("sequence", "step", "timestamp_ms", *end))

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that a field may have in JSON."""
        aliases = (alias for field in self.fields for alias in field.aliases)
        return ("stream", *(field.name for field in self.fields), *aliases, *self.common)

    @property
    def nameable(self) -> tuple[str, ...]:
        """The fields and columns that ``--column`` can name."""
        own = (field.name for field in self.fields)
        return tuple(dict.fromkeys((*self.columns.known, "stream", *own, *self.common)))

    def tell_arrays(self, renamed: Renamed, notice: OnNote) -> None:
        """Say which names of ``--column`` mean nothing in a CSV: arrays stand in several columns."""
        for field in self.fields:
            if field.name in renamed and field.name not in self.columns.known:
                columns = ", ".join(field.columns[:4]) + ("..." if len(field.columns) > 4 else "")
                notice(f"--column {field.name} is not used: a CSV has {field.name} in columns; name those: {columns}")

    def tell_columns(self, renamed: Renamed, notice: OnNote) -> None:
        """Say which names of ``--column`` mean nothing in JSON lines: columns of an array stand in one field."""
        for field in self.fields:
            unused = [column for column in field.columns if column in renamed and column != field.name]
            if unused:
                notice(
                    f"--column {unused[0]} is not used: JSON lines have it in the field {field.name}; name that instead"
                )


class JsonNames:
    """Gives the fields of a JSON object the names of the wire.

    Args:
        names: of the task.
        renamed: the name of a field in the feed. Then it has no other: neither its own nor an alias counts.
        say: told something once: what it is about, and the text.
    """

    def __init__(self, names: LineNames, renamed: Renamed, say: Callable[[str, str], None]) -> None:
        self._renamed = renamed
        self._say = say
        self._needed = {field.name for field in names.fields if field.missing == "refuse"}
        own = {field.name: (field.name, *field.aliases) for field in names.fields}
        self._other_names = {field: own.get(field, (field,)) for field in renamed}
        self._fields = {*own, *names.common, "stream"}

    def put(self, fields: dict[str, Any]) -> None:
        """Rename the fields of one object; raises RecordError: a field that is needed is not there under its name."""
        # All are taken out before one is put in: a field may have the name of another.
        taken = {field: fields.pop(name) for field, name in self._renamed.items() if name in fields}
        fields |= taken
        for field, name in self._renamed.items():
            if field in self._fields:
                self._drop_others(fields, field, name, taken)

    def _drop_others(self, fields: dict[str, Any], field: str, name: str, taken: dict[str, Any]) -> None:
        for other in self._other_names[field]:
            if other not in taken:
                fields.pop(other, None)
        if field in taken:
            return
        if field in self._needed:
            raise RecordError("missing_field", f"{field} is missing: there is no {name!r}, which --column names")
        self._say(f"column {field}", f"a line has no {name!r}, which --column names: taken without {field}")
