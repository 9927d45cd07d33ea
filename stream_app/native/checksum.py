"""The checksum of a record batch: CRC-32C, by the processor's own instruction.

aiokafka's own takes 0.6 µs a KB, by tables: 6 % of a worker's time at full speed. google-crc32c takes a tenth of that.
"""

from __future__ import annotations

import google_crc32c
from aiokafka.record.util import calc_crc32c

_HAS_INSTRUCTION = google_crc32c.implementation == "c"  # without its compiled part it is slower than aiokafka's


def crc32c(part: memoryview) -> int:
    """The checksum of these bytes, unsigned."""
    found: int = google_crc32c.value(bytes(part)) if _HAS_INSTRUCTION else calc_crc32c(part)
    return found
