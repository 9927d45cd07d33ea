"""Tasks: one TOML file declares the fields, model, outputs and topics of a kind of stream.

Anybody may call it; it knows nothing of records, models or Kafka. Begin with `declaration`, the types that everything
follows from. `reading` makes them of a file, `keys` has every key that such a file may hold. Two tasks ship with the
package: `signal.toml` and `casting.toml`.
"""

from __future__ import annotations

from typing import Literal

Task = Literal["signal", "casting"]
"""The tasks that ship: formats of files that are older than declarations know these alone."""
