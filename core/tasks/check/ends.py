"""Samples at the ends of the fields' ranges: the runtime must be able to run the graph there too.

A sample that the runtime cannot run has no outputs, and moves no state. A record that lies outside of a field's range
is a dead letter, which says more: so a range must be one that the model can take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core.arrays import Float32s
from core.errors import RunError, StartupError
from core.tasks.declaration import Declaration

_SHOWN = 3


def check_ends(declaration: Declaration, run: Callable[[Float32s], Any]) -> None:
    """Run a sample of the lowest values that records may have, and one of the highest.

    Args:
        declaration: the task.
        run: runs a sample (F,).

    Raises:
        StartupError: the runtime cannot.
    """
    for end, place in (("low", 0), ("high", 1)):
        values = [(field.low, field.high)[place] for field in declaration.fields for _ in range(field.width)]
        try:
            run(np.array(values, np.float32))
        except RunError as error:
            raise StartupError(
                f"{error}; that is at the {end} end of the fields' ranges ({_words(declaration, place)}), and such a "
                "record would have no output: set range of each field to what the model takes, and it is a dead letter"
            ) from error


def _words(declaration: Declaration, place: int) -> str:
    fields = declaration.fields
    words = [f"{field.name} = {(field.low, field.high)[place]:.6g}" for field in fields[:_SHOWN]]
    return ", ".join(words) + (" and so on" if len(fields) > _SHOWN else "")
