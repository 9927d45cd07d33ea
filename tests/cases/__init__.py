"""Real cases, played: what people report of recordings, exports, gateways and clusters, each with what is right.

`make cases` plays them and prints a table; tests/test_cases.py holds the quick ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The helpers of the tests are found as pytest finds them.
_TESTS = str(Path(__file__).resolve().parent.parent)
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
