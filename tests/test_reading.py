"""Reading a part of topics: how often the broker is asked before the first record."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from stream_app.kafka.reading import Reading
from stream_app.settings import Settings
from tests.broker import ToSend, produce

pytestmark = pytest.mark.kafka


async def test_the_leaders_of_all_topics_are_asked_for_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka asks for one topic after the other and waits 0.1 s after each, at every start and every rebalance."""
    names = [settings.topic(name) for name in ("signal-predictions", "casting-scores", "dead-letters")]
    produce(settings, names[1], [ToSend("a", b"1", partition=2)])
    places = [TopicPartition(name, partition) for name in names for partition in range(4)]
    asked: list[Any] = []

    async with Reading(settings, "outputs") as reading:
        client = reading._consumer._client
        ask = client._metadata_update

        async def counted(*arguments: Any) -> Any:
            asked.append(arguments)
            return await ask(*arguments)

        monkeypatch.setattr(client, "_metadata_update", counted)
        ends = await reading.ends(places)
        beginnings = await reading.beginnings(places)

    assert len(asked) == 1
    assert ends == {at: int(at == TopicPartition(names[1], 2)) for at in places}
    assert beginnings == dict.fromkeys(places, 0)
