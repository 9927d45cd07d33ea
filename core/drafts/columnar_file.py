"""A Parquet or Feather file -> the draft of a task: its numeric columns become fields."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from core.callbacks import unheard
from core.data.csv.arrow import ColumnarFile
from core.drafts.csv_file import LOOKED_AT, draft_of_rows
from core.drafts.draft import Draft


def draft_of_columnar(path: Path) -> Draft:
    """Read the names of a file's columns and its first rows.

    Raises:
        DataError: it cannot be read, or has no column of numbers; or pyarrow is missing.
    """
    source = ColumnarFile(path, {})
    rows = [cells for _, cells in islice(source.read(unheard, range(len(source.names))), LOOKED_AT)]
    return draft_of_rows(path, source.names, {}, rows, f"the first {len(rows):,} rows")
