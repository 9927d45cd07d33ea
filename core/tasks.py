"""The tasks: what a stream's samples are of, and so which model runs on them."""

from __future__ import annotations

from typing import Literal

Task = Literal["signal", "casting"]
