"""One worker process: `python -m stream_app.worker.process --index N`, started by `stream_app.worker.supervisor`.

Its settings come from the environment. It ends with status 0 when told to stop, `EXIT_REFUSED` when the next start
would end in the same way until somebody has put something right, `EXIT_UNREACHABLE` where no broker answers,
`EXIT_FAILED` otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from core.errors import CaststreamError, LostRecordsError, RunError, StartupError
from stream_app import logs
from stream_app.exits import EXIT_FAILED, status_of
from stream_app.worker.report import Reporter

if TYPE_CHECKING:
    from stream_app.settings import Settings
    from stream_app.worker.app import CaststreamApp
    from stream_app.worker.health import Health

log = logging.getLogger(__name__)

BROKER_PATIENCE_S = 30.0
STOP_PATIENCE_S = 10.0
BRIEF_S = 0.6
# Heartbeats come every 0.3 s: a coordinator that answered within this time is there.
ANSWERS_S = 2.0
HEALTH_S = 5.0
# A group gives a worker its partitions within a second, unless others have to hand theirs over first.
GROUP_S = 5.0
MODULES = (
    "core.engines.scorer",
    "core.engines.stepper",
    "stream_app.flow.commits",
    "stream_app.worker.agents",
    "stream_app.worker.build",
    "stream_app.worker.health",
)


async def run(settings: Settings, index: int, reporter: Reporter) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartupError: something must be put right first.
        RunError: the worker could not go on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("looking for the topics on %s, for up to %.0f s", settings.broker, BROKER_PATIENCE_S)
    if await _get_ready(settings, stop):
        await _serve(settings, index, stop, reporter)


async def _get_ready(settings: Settings, stop: asyncio.Event) -> bool:
    """Check the topics, and load what serving needs meanwhile.

    Returns False if the process is told to stop first: the threads that do both are then left to the process's end.
    """
    # A broker that is not there is told without waiting for the imports: the process ends in their middle.
    await _first(
        stop.wait(),
        asyncio.gather(asyncio.to_thread(_check_topics, settings), asyncio.to_thread(load_modules)),
    )
    return not stop.is_set()


async def _first(*awaited: Awaitable[Any]) -> None:
    """Wait until the first is over; an error of it is raised."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _check_topics(settings: Settings) -> None:
    # Imported here: the supervisor takes this module's exit statuses, and needs no Kafka client.
    from stream_app.clients.admin import Cluster
    from stream_app.topics.checks import check_topics, topic_warnings
    from stream_app.topics.ownership import claim
    from stream_app.topics.permissions import check_permissions
    from stream_app.topics.plans import planned_topics

    cluster = Cluster(settings, BROKER_PATIENCE_S)
    configs = check_topics(settings, cluster).configs
    check_permissions(settings, cluster)
    claim(settings, cluster)
    if hidden := [plan.name for plan in planned_topics(settings) if plan.name not in configs]:
        log.warning(
            "the settings of %s cannot be read (SECURITY.md: DescribeConfigs): the worker assumes that they are "
            "not compacted, and take records up to Kafka's default size",
            ", ".join(hidden),
        )
    for warning in topic_warnings(settings, configs).values():
        log.warning("%s", warning)


def load_modules() -> None:
    """Import what `_serve` needs, Faust above all: most of a start, while the broker's answers are waited for."""
    for module in MODULES:
        import_module(module)


async def _serve(settings: Settings, index: int, stop: asyncio.Event, reporter: Reporter) -> None:
    # Imported here: they take a second, and a broker that is not there should be told at once.
    from stream_app.flow.commits import CommitLoop
    from stream_app.worker.agents import add_agents
    from stream_app.worker.build import build_app
    from stream_app.worker.health import Health, serve

    app = build_app(settings)
    for pipeline in app.pipelines:
        pipeline.engine.warm_up()
    add_agents(app)
    health = Health(app)
    port = settings.metrics_port + index if settings.metrics_port else 0
    site = await serve(app, health, settings.metrics_host, port)
    commits = CommitLoop(app.committer, settings.commit_interval, settings.max_commit_interval, app.upkeep.after_commit)
    committing, watching = asyncio.create_task(commits.run()), asyncio.create_task(_watch(app, health))
    running = asyncio.create_task(_run(app))
    telling = asyncio.create_task(_tell_when_ready(app, reporter))
    _spare_garbage_collection()
    try:
        await _until_over(app, stop, [committing, watching, running])
    finally:
        for task in (watching, running, telling):
            task.cancel()
        commits.stop()
        patience_s = _patience_s(app)
        # One after the other: what a commit still asks the consumer, nobody answers once that is stopped.
        await _wait_patiently(committing, patience_s)
        if committing.done() and not committing.cancelled():
            committing.exception()  # told by `_until_over` where it ended the worker; at a stop it is of no more use
        await _wait_patiently(asyncio.create_task(app.stop()), patience_s)
        await site.cleanup()


def _patience_s(app: CaststreamApp) -> float:
    """Choose how long each part of an orderly end may take: long where something can be saved by it.

    That is records that were applied and not committed, and a group that is told that its member leaves. Neither can be
    without a coordinator that answers.
    """
    answers = app.lease.now() - app.lease.renewed < ANSWERS_S
    return STOP_PATIENCE_S if app.lease.held and (answers or app.committer.is_behind) else BRIEF_S


async def _wait_patiently(ending: asyncio.Task[None], patience_s: float) -> None:
    """Waited for, not cancelled: without a broker some of Faust's services never end, cancelled or not."""
    _, waiting = await asyncio.wait([ending], timeout=patience_s)
    if waiting:
        log.warning("the broker does not answer: uncommitted records will be processed again", extra=logs.SELDOM)


def _spare_garbage_collection() -> None:
    """Look for garbage rarely: modules stay loaded, and a chunk makes tens of thousands of objects that are no garbage.

    With Python's thresholds a quarter of a worker's time goes into collections (13.4 to 15.4 µs a sample, 10.0 to 11.2
    without). What a start leaves behind is not looked for: it takes 60 ms to find nothing worth its memory.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(200_000, 50, 1000)


async def _run(app: CaststreamApp) -> None:
    """Ends with an error only. The start waits for the group's first assignment, which others may hold up for long."""
    await app.start()
    await asyncio.Event().wait()


async def _tell_when_ready(app: CaststreamApp, reporter: Reporter) -> None:
    while not app.was_ready.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.was_ready.wait(), GROUP_S)
        if app.waits_for_group:
            log.info(
                "waiting for the group %s to give out its partitions: it waits until every worker of it has answered, "
                "and for one that was killed until its session_timeout is over",
                app.settings.app_id,
                extra=logs.SELDOM,
            )
    reporter.ready()


async def _watch(app: CaststreamApp, health: Health) -> None:
    """Ends with RunError when the worker is stuck, with StartupError when the broker does not let it in any more."""
    while True:
        await asyncio.sleep(HEALTH_S)
        app.chunk_consumer().check_group()
        with contextlib.suppress(TimeoutError):  # then the last lag that is known counts
            await asyncio.wait_for(app.upkeep.observe(), HEALTH_S)
        await health.check_let_in()
        problem = health.stuck()
        if problem:
            raise RunError(problem)


async def _until_over(app: CaststreamApp, stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for a signal, or until the application or one of its tasks has failed: then raise its error."""
    crashed = asyncio.create_task(app._crashed.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, crashed, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, crashed):
        task.cancel()
    error = app.failure or app.crash_reason
    if error is None:
        error = next((task.exception() for task in tasks if task.done()), None)
    if error is not None:
        raise (
            error if isinstance(error, CaststreamError) else RunError(f"the worker could not go on: {error!r}")
        ) from error


def main() -> int:
    """Entry point of a worker process."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--index", type=int, default=0)
    arguments.add_argument("--debug", action="store_true")
    arguments.add_argument("--report", type=int, help="descriptor of a pipe to the supervisor")
    options = arguments.parse_args()
    gc.disable()  # until the worker serves: what a start makes stays, and looking for garbage in it takes 7 % of it
    reporter = Reporter(options.report)
    logs.configure("text", f"worker {options.index}", options.debug)  # until the settings say otherwise
    try:
        _main(options.index, options.debug, reporter)
    except StartupError as error:
        log.error("%s", error, exc_info=options.debug)
        reporter.ends(str(error), for_good=isinstance(error, LostRecordsError))
        return status_of(error)
    except Exception as error:
        log.error("%s", error, exc_info=options.debug or not isinstance(error, CaststreamError))
        return EXIT_FAILED
    return 0


def _main(index: int, debug: bool, reporter: Reporter) -> None:
    from stream_app.settings import load_settings

    settings = load_settings()
    logs.configure(settings.log_format, f"worker {index}", debug)
    settings.declarations()  # a task that cannot be used is reported without a broker
    # Not asyncio.run, which would wait at its end for tasks and threads that a lost broker keeps waiting for ever.
    asyncio.new_event_loop().run_until_complete(run(settings, index, reporter))


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)  # with whatever still waits: what could be committed has been, the rest is done again
