"""Asks the consistency checker whether what a run has left at the broker is right."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from reporting import Say

from stream_app.settings import Settings
from stream_app.verify import verify


def audit(settings: Settings, say: Say, streams: Collection[str] | None = None, since_ms: int | None = None) -> Any:
    """What the checker finds, ready for JSON: ``ok``, ``problems`` in words, its counts and first examples.

    Args:
        streams: these only; all by default.
        since_ms: append times from here on, where retention may have deleted what was before.
    """
    say(f"checking {'all streams' if streams is None else f'{len(streams)} streams'} against an offline run ...")
    tenths = 0

    def progress(done: int, total: int) -> None:
        nonlocal tenths
        if total and (now := 10 * done // total) > tenths:
            tenths = now
            say(f"checked: {10 * tenths} % of {total:,} offsets")

    report = verify(settings, streams=streams, since_ms=since_ms, on_progress=progress)
    say(f"checked: {report.records:,} records, {report.outputs:,} outputs: {report}")
    return report.as_dict() | {"problems": report.problems}
