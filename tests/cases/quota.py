"""A quota on a broker, set by a request of our own: no client for Python can."""

from __future__ import annotations

import struct

from stream_app.clients import knock

_ALTER_CLIENT_QUOTAS = 49


def limit_producers(broker: str, client_id: str, bytes_per_second: float) -> None:
    """Throttle whoever says that this is its name."""
    entity = struct.pack(">i", 1) + _text("client-id") + _text(client_id)
    change = struct.pack(">i", 1) + _text("producer_byte_rate") + struct.pack(">d?", bytes_per_second, False)
    body = struct.pack(">i", 1) + entity + change + struct.pack(">?", False)
    with knock.connect(broker, None) as connection:
        answer = knock._ask(connection, _ALTER_CLIENT_QUOTAS, 0, body)
    (code,) = struct.unpack_from(">h", answer, 8)  # behind the throttle time and the number of entries
    if code:
        raise OSError(f"the broker takes no quota: error {code}")


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
