"""A process held to a share of a core by the kernel, as a container with a CPU limit is. Linux, root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 10_000  # a tenth of the kernel's default: with 100 ms a process is stopped for most of that at a time
SETTLE = "cgroup.procs"


@contextmanager
def limited(pid: int, cores: float) -> Iterator[str | None]:
    """Hold a process to ``cores`` while the context is open.

    Yields:
        How it is done, or None where it cannot be: no root, no cgroup file system that can be written.
    """
    made = _make(cores)
    if made is None:
        yield None
        return
    group, parent, how = made
    try:
        (group / SETTLE).write_text(str(pid))
        yield how
    finally:
        for member in (group / SETTLE).read_text().split():
            with suppress(OSError):  # it has ended
                (parent / SETTLE).write_text(member)
        with suppress(OSError):
            group.rmdir()


def _make(cores: float) -> tuple[Path, Path, str] | None:
    """The group, where its members go at the end, and words; version 1 of cgroups where its controller is mounted."""
    quota_us = max(1000, round(cores * PERIOD_US))
    for parent, files, how in (
        (CGROUPS / "cpu", {"cpu.cfs_period_us": f"{PERIOD_US}", "cpu.cfs_quota_us": f"{quota_us}"}, "cpu.cfs_quota_us"),
        (CGROUPS, {"cpu.max": f"{quota_us} {PERIOD_US}"}, "cpu.max"),
    ):
        group = parent / f"caststream-bench-{os.getpid()}"
        if not (parent / SETTLE).exists():
            continue
        try:
            group.mkdir()
            for name, value in files.items():
                (group / name).write_text(value)
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        return group, parent, f"{how}, {quota_us} of every {PERIOD_US} µs"
    return None
