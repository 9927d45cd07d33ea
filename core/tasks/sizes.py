"""Sizes that a task may have."""

from __future__ import annotations

STATE_BYTES, LARGEST_STATE_BYTES = 65_536, 524_288
"""Bytes of one stream's state: by default, and at most. Every commit writes the states of all streams that moved."""
