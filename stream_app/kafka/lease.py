"""The lease: the time for which this worker surely is a member of its group, so that no other has its partitions.

A worker that was stopped for longer than its session (a paused virtual machine, a long swap) goes on in the middle of
whatever it did, while its partitions have another owner. The new owner has published its outputs or will do so. An
idempotent producer fences nobody, so the worker asks its own clock right before each produce request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import NoError, RebalanceInProgressError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

# A request that left in time needs some more until the broker has it: a quarter of the session is left for that.
# Heartbeats come every third of it or more often (`HEARTBEAT_S` in transport.py), so one may be late without harm.
SESSION_SHARE = 0.75


def boot_clock() -> float:
    """Seconds that also count while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Held from when the group's coordinator was asked, if it answered well, for a share of the session timeout.

    The coordinator counts the session from when it was asked or later, so the lease always ends before it does.

    Args:
        session_timeout: in seconds, as the group knows it.
        clock: seconds that never go back.
    """

    def __init__(self, session_timeout: float, clock: Callable[[], float] = boot_clock) -> None:
        self.now = clock
        self._length = SESSION_SHARE * session_timeout
        self._until = -math.inf
        self.renewed = -math.inf
        """Time at which the coordinator was last asked with success, even if the membership has ended since."""

    @property
    def held(self) -> bool:
        """True if this worker may publish now."""
        return self.left > 0

    @property
    def left(self) -> float:
        """Seconds until it ends, if it is not renewed; 0 or less when it has ended."""
        return self._until - self.now()

    def renew(self, asked: float) -> None:
        """The coordinator has confirmed the membership when asked at this time."""
        self._until = max(self._until, asked + self._length)
        self.renewed = max(self.renewed, asked)

    def end(self) -> None:
        """The membership is over."""
        self._until = -math.inf


def keep(lease: Lease, coordinator: Any) -> None:
    """Have an aiokafka group coordinator renew the lease with every heartbeat and assignment, and end it."""
    send, reset = coordinator._send_req, coordinator.reset_generation

    async def send_and_renew(request: Any) -> Any:
        asked = lease.now()
        response = await send(request)
        if _confirms(request, response):
            lease.renew(asked)
        return response

    def reset_and_end() -> None:
        lease.end()
        reset()

    coordinator._send_req, coordinator.reset_generation = send_and_renew, reset_and_end


def _confirms(request: Any, response: Any) -> bool:
    """True if the answer says that we are a member; while the group rebalances, heartbeats keep the session alive."""
    if isinstance(request, HeartbeatRequest):
        return response.error_code in (NoError.errno, RebalanceInProgressError.errno)
    return isinstance(request, SyncGroupRequest) and response.error_code == NoError.errno
