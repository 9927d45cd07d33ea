"""The limits of a record's key and fields. `core/native/sample_scan.hpp` has the same numbers."""

from __future__ import annotations

MAX_KEY_BYTES = 255
MAX_SEQUENCE_BYTES = 255
MAX_STEP = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_VALUE = 1e6
MIN_TIME_MS = 946_684_800_000  # 2000-01-01
MAX_TIME_MS = 4_102_444_800_000  # 2100-01-01: seconds, microseconds and nanoseconds of today lie far outside
