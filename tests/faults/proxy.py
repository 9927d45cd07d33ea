"""A TCP proxy that fails on command: connections are cut, refused, slowed, or held in one direction or both.

What it holds behaves as in an outage of the network. Bytes arrive late, when the outage is over, unless the sender has
reset its connection meanwhile: then its own machine would have had them still, and has thrown them away.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

HOST = "127.0.0.1"
CHUNK_BYTES = 16 * 1024
UP, DOWN = "up", "down"
"""Towards the target; from it."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a free port and passes everything on to another one, until told otherwise; see the methods.

    Args:
        target: the port on 127.0.0.1 where connections go.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.changed = threading.Condition()
        self.held: frozenset[str] = frozenset()
        self.delay_s = 0.0
        self.bytes_per_s = float("inf")
        self._refusing = False
        self._connections: set[_Connection] = set()
        threading.Thread(target=self._accept, name=f"proxy {self.port}", daemon=True).start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{HOST}:{self.port}"

    def hold(self, *directions: str) -> None:
        """Forward nothing in these directions, both by default. Connections are accepted, and stay."""
        self._set(held=frozenset(directions or (UP, DOWN)))

    def slow(self, bytes_per_s: float, delay_s: float) -> None:
        """Forward no faster than this, each connection and direction for itself, and every piece later by a delay."""
        self._set(bytes_per_s=bytes_per_s, delay_s=delay_s)

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        with self.changed:
            connections = list(self._connections)
        for connection in connections:
            connection.abort()

    def refuse(self) -> None:
        """Reset all connections, and new ones at once."""
        self._set(_refusing=True)
        self.cut()

    def heal(self) -> None:
        """Pass everything on, as fast as it comes."""
        self._set(held=frozenset(), bytes_per_s=float("inf"), delay_s=0.0, _refusing=False)

    def close(self) -> None:
        """Listen no more; connections are reset."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; closing alone would not
        self._listener.close()
        self.refuse()

    def _set(self, **values: object) -> None:
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset(client)
                continue
            try:
                target = socket.create_connection((HOST, self.target))
            except OSError:
                _reset(client)
                continue
            connection = _Connection(self, client, target, self._connections.discard)
            with self.changed:
                self._connections.add(connection)
            connection.start()


class _Connection:
    """One client and its twin at the target; a thread for each direction."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, target: socket.socket, on_end: Callable[[_Connection], None]
    ) -> None:
        self._proxy = proxy
        self._sockets = (client, target)
        self._on_end = on_end
        self._aborted = False
        self._pumps = 2
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        client, target = self._sockets
        for direction, source, sink in ((UP, client, target), (DOWN, target, client)):
            threading.Thread(target=self._pump, args=(direction, source, sink), daemon=True).start()

    def abort(self) -> None:
        """Both ends are reset, as soon as the threads have woken up."""
        with self._proxy.changed:
            if self._aborted or not self._pumps:
                return
            self._aborted = True
            self._proxy.changed.notify_all()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                each.shutdown(socket.SHUT_RDWR)

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                self._travel(direction, len(data), source)
                sink.sendall(data)
            self._travel(direction, 0, source)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
        finally:
            self._ended()

    def _travel(self, direction: str, size_bytes: int, source: socket.socket) -> None:
        """Take the time that the way takes. Raises OSError when the connection is gone at its end."""
        proxy = self._proxy
        pause_s = proxy.delay_s + size_bytes / proxy.bytes_per_s
        if pause_s:
            time.sleep(pause_s)
        with proxy.changed:
            was_held = direction in proxy.held
            proxy.changed.wait_for(lambda: direction not in proxy.held or self._aborted)
        if self._aborted or (was_held and source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            raise ConnectionResetError

    def _ended(self) -> None:
        with self._proxy.changed:
            self._pumps -= 1
            if self._pumps:
                return
            self._on_end(self)
        for each in self._sockets:
            each.close()


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.close()
