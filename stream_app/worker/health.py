"""The worker's HTTP surface: /metrics, /healthz and /readyz. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import socket
import time

from aiohttp import web

from core.errors import RunError, StartupError, UnreachableError
from stream_app.clients import knock
from stream_app.clients.access import check_access
from stream_app.worker.app import STANDBY, CaststreamApp

# With lag and neither a commit nor an acknowledged batch for this long a worker is stuck: it ends, and its supervisor
# starts another. A broker that throttles us makes a commit take longer, but goes on acknowledging.
STUCK_S = 60.0
# A commit that is not complete after this long never will be, whatever else the broker acknowledges.
LONGEST_COMMIT_S = 600.0
# A broker that has let us in and now refuses us may be in trouble itself, with its list of users out of reach.
REFUSED_S = 60.0
# A rebalance waits for a member for up to 60 s. Whom a broker lets in and who still is no member after this long, or a
# member whose partitions are not taken up and get no further, has got stuck on its way: it ends, and its supervisor
# starts another.
ON_THE_WAY_S = 150.0
# All brokers of a cluster may come back at other addresses. aiokafka asks only those that it knows.
MOVED_S = 30.0
# Looks come every 5 s. Behind a longer pause, in which the process stood still, nothing is known of the time between.
LOOK_S = 30.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Judges whether the worker is alive and ready."""

    def __init__(self, app: CaststreamApp) -> None:
        self.app = app
        self._taken_up_since: float | None = None
        self._behind_since: float | None = None
        self._refused_since: float | None = None
        self._outside_since: float | None = None
        self._moved_since: float | None = None
        self._member_since: float | None = None
        self._looked = 0.0

    def readiness(self) -> tuple[bool, str]:
        """True if records are processed and published, and a line that says so.

        Partitions are assigned, tables recovered, models warm, and the group's coordinator answers: without the lease
        nothing is published.
        """
        if self.app.serves:
            return True, f"ready: {STANDBY}" if self.app.is_standby else "ready"
        return False, "the group's coordinator does not answer" if self.app.ready else "starting or rebalancing"

    def _taken_up(self) -> bool:
        """Partitions assigned and recovered, whether or not the group still answers."""
        if not self.app.ready:
            self._taken_up_since = None
        elif self._taken_up_since is None:
            self._taken_up_since = time.monotonic()
        return self.app.ready

    def stuck(self) -> str | None:
        """Say why the worker is not healthy, None where it is: lag all the time, and neither a commit nor an ack, since
        readiness, the last of them, or the first look that found the lag. Without that look, records that have just
        come would make a worker stuck that had nothing to commit before.
        """
        behind = [at for at, records in self.app.upkeep.lag.items() if records]
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()
        if not self._taken_up():
            return self._stuck_on_its_way()
        if self._taken_up_since is None or self._behind_since is None:
            return None
        names = ", ".join(f"{at.topic}[{at.partition}]" for at in sorted(behind))
        since = max(self.app.metrics.last_commit, self._taken_up_since, self._behind_since)
        uncommitted_s = time.monotonic() - since
        if uncommitted_s > LONGEST_COMMIT_S or time.monotonic() - max(since, self.app.writer.last_ack) > STUCK_S:
            return f"no commit for {uncommitted_s:.0f} s with records waiting in {names}"
        return None

    def _stuck_on_its_way(self) -> str | None:
        """Say why a member gets stuck between an assignment and readiness; None if it does not."""
        if not self.app.lease.held:
            self._member_since = None
            return None
        if self._member_since is None:
            self._member_since = time.monotonic()
        waited_s = time.monotonic() - max(self.app.moved_on_s, self._member_since)
        if waited_s > ON_THE_WAY_S:
            return f"partitions were assigned, and for {waited_s:.0f} s taking them up has got no further"
        return None

    async def check_let_in(self) -> None:
        """When the group does not answer, find out why: an outage, a refusal by the broker, or a worker that got stuck.

        Raises:
            StartupError: it has refused us for `REFUSED_S`.
            RunError: it answers, and we have not been a member for `ON_THE_WAY_S`, or have known only brokers that are
                away for `MOVED_S`.
        """
        lease, looked, self._looked = self.app.lease, self._looked, self.app.lease.now()
        if lease.held:
            self._refused_since = self._outside_since = self._moved_since = None
            return
        try:
            answered = await asyncio.to_thread(check_access, self.app.settings.client_config())
        except UnreachableError:
            answered = False
        except StartupError:
            self._refused_since = self._refused_since or time.monotonic()
            if time.monotonic() - self._refused_since >= REFUSED_S:
                raise
            return
        self._refused_since = None
        await self._check_moved(answered)
        if not answered or self._outside_since is None or self._looked - looked > LOOK_S:
            self._outside_since = self._looked if answered else None
            return
        # Held or not is asked now and then: a membership that came and went in between counts too.
        if self._looked - max(self._outside_since, lease.renewed) > ON_THE_WAY_S:
            group = self.app.settings.app_id
            raise RunError(f"no member of the group {group!r} for {ON_THE_WAY_S:.0f} s, though the broker answers")

    async def _check_moved(self, answered: bool) -> None:
        known = self.app.chunk_consumer().known_brokers() if answered else []
        if not known or not await asyncio.to_thread(knock.away, known):
            self._moved_since = None
            return
        self._moved_since = self._moved_since or time.monotonic()
        if time.monotonic() - self._moved_since >= MOVED_S:
            raise RunError(
                f"no broker has answered at {', '.join(known)} for {MOVED_S:.0f} s, but one answers on "
                f"{self.app.settings.broker}: the cluster has other addresses now"
            )


async def serve(app: CaststreamApp, health: Health, host: str, port: int) -> web.AppRunner:
    """Listen on host and port; the runner's ``cleanup`` ends it.

    Raises:
        StartupError: the port is taken or the address is not this machine's.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=app.metrics.exposition(), headers={"Content-Type": METRICS_TYPE})

    async def healthz(_: web.Request) -> web.Response:
        problem = health.stuck()
        return web.Response(status=503 if problem else 200, text=(problem or "ok") + "\n")

    async def readyz(_: web.Request) -> web.Response:
        ready, line = health.readiness()
        return web.Response(status=200 if ready else 503, text=line + "\n")

    site = web.Application()
    site.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, _listen(host, port)).start()
    except OSError as error:
        await runner.cleanup()
        raise StartupError(
            f"metrics port {port} on {host} cannot be used ({error.strerror or error}); choose another with "
            f"--metrics-port"
        ) from error
    return runner


def _listen(host: str, port: int) -> socket.socket:
    """``::`` means every address, IPv4 ones too, whatever the system's default."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, backlog=128, dualstack_ipv6=both)
