"""Names that mean something already, so that no field, output, alias or column of a task can have them."""

from __future__ import annotations

from core.native.names import near_field_of

OF_RECORDS = (
    *("stream", "sequence", "step", "start", "length", "timestamp_ms", "end", "final", "reason", "model", "gap"),
)
"""Names in records, of samples and of outputs, beside fields and outputs."""
OF_FILES = ("sequence_start", "sequence_length", "sequence_name", "stream_name", "label")
"""Datasets that stand beside those of the fields in a file of data."""
TRUTH = ("anomaly", "cause", "oracle_score")
"""Datasets and columns that judge samples: a draft makes no fields of them, though a field may have such a name."""


def why_not_a_field(name: str) -> str | None:
    """Why a field cannot have this name; None where it can."""
    if name in OF_FILES:
        return f"a data file has something else under the name {name!r}"
    return why_not_an_output(name)


def why_not_an_output(name: str) -> str | None:
    """Why an output cannot have this name; None where it can."""
    return f"records have something else under the name {name!r}" if name in OF_RECORDS else why_not_an_alias(name)


def why_not_an_alias(name: str) -> str | None:
    """Why neither an alias nor a column of a field can be this name; None where it can."""
    if name == "stream":
        return "it names the stream"
    near = near_field_of(name.encode())
    return None if near is None else f"in a record it would be read as {near!r}"
