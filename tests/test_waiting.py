"""A worker that waits for its group says so: others may hold the group up for a minute."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.worker import process


@pytest.mark.parametrize("waits", [True, False])
async def test_a_worker_that_waits_for_its_group_says_so_and_one_that_reads_its_tables_does_not(
    waits: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "GROUP_S", 0.001)
    caplog.set_level("INFO")
    looks, ready = [], asyncio.Event()

    class App:
        was_ready = ready
        settings = SimpleNamespace(app_id="mill")

        @property
        def waits_for_group(self) -> bool:
            looks.append(waits)
            if len(looks) == 3:
                ready.set()
            return waits

    told: list[str] = []
    app: Any = App()
    reporter: Any = SimpleNamespace(ready=lambda: told.append("ready"))

    await process._tell_when_ready(app, reporter)

    assert told == ["ready"]
    assert ["waiting for the group mill" in entry.message for entry in caplog.records] == [True] * 3 * waits
