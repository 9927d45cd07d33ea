import numpy as np
from numpy.typing import NDArray

def encode_records(
    keys: list[bytes],
    fields: list[bytes],
    shared: list[bytes],
    values: NDArray[np.float32],
    first_steps: NDArray[np.int64],
    skips: NDArray[np.int64],
    times_ms: NDArray[np.int64],
    last_steps: NDArray[np.int64] | None = None,
) -> list[tuple[bytes, bytes]]:
    """The records of R rows over T steps: step 0 of all rows, then step 1 and so on.

    Args:
        keys: (R,) the rows' streams.
        fields: (F,) JSON that stands before each value: ``{"signal":``.
        shared: (R,) JSON between a row's last value and its step: ``,"sequence":"r-1","step":``.
        values: (R, T, F).
        first_steps: (R,) the step of each row at the first of the T steps.
        skips: (R,) how many of the T steps are left out.
        times_ms: (T,) event times.
        last_steps: (R,) of casts: the step with ``"end":true``, -1 for none. Signals have no such field.

    Raises:
        ValueError: the sizes do not go together.
    """
