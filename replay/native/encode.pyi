import numpy as np
from numpy.typing import NDArray

def encode_records(
    keys: list[bytes],
    names: list[bytes],
    lengths: NDArray[np.int64],
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
        names: JSON that stands before each field, with a comma in front: ``,"signal":``.
        lengths: the numbers of each field that is an array, 0 of one that is a number.
        shared: (R,) JSON between a row's last value and its step: ``,"sequence":"r-1","step":``.
        values: (R, T, numbers of all fields). A field whose first number is NaN is left out.
        first_steps: (R,) the step of each row at the first of the T steps.
        skips: (R,) how many of the T steps are left out.
        times_ms: (R, T) event times.
        last_steps: (R,) the step with ``"end":true``, -1 for none; None: records have no such field.

    Raises:
        ValueError: the sizes do not go together.
    """
