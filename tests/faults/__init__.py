"""The fault suite: live load and real workers on a real broker, while everything around them fails as a seed says.

`python -m tests.faults.run --seed 1 --schedules 20` (also `make faults`) plays schedules, and the consistency checker
judges each. Modules here import each other, and the tests' helpers, by bare name, as tests do.
"""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = str(Path(__file__).resolve().parent.parent)
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
