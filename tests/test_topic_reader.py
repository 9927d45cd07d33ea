"""The reader of topics that the tools have in common: from offset to offset, to the end of now, and on from there."""

from __future__ import annotations

import pytest

from core.errors import RunError
from stream_app.clients.topic_reader import TopicReader
from stream_app.settings import Settings
from tests.admin import delete_records
from tests.broker import ToSend, produce

pytestmark = pytest.mark.kafka
RECORDS = 5


@pytest.fixture
def topic(settings: Settings) -> str:
    """A topic with five records in each of its first two partitions."""
    name = settings.topic("signal-samples")
    produce(settings, name, [ToSend("a", b"%d" % n, partition=at) for n in range(RECORDS) for at in (0, 1)])
    return name


def values(messages: list[object]) -> list[object]:
    return [(message.partition(), message.value()) for message in messages]  # type: ignore[attr-defined]


def test_ranges_of_several_partitions_are_read_at_once_and_to_their_ends(settings: Settings, topic: str) -> None:
    passed: list[int] = []
    with TopicReader(settings.client_config(), on_read=passed.append) as reader:
        found = values(list(reader.read({(topic, 0): (1, 3), (topic, 1): (4, 5), (topic, 2): (0, 0)})))
        again = values(list(reader.read({(topic, 0): (0, 1)})))

    assert sorted(found) == [(0, b"1"), (0, b"2"), (1, b"4")]
    assert again == [(0, b"0")]
    assert sum(passed) == 4


def test_a_partition_is_read_from_a_start_or_what_is_left_after_it_to_the_end(settings: Settings, topic: str) -> None:
    delete_records(settings, topic, 0, 2)
    with TopicReader(settings.client_config()) as reader:
        found = values(list(reader.read_from({(topic, 0): 0, (topic, 1): 3, (topic, 2): 0})))

    assert sorted(found) == [(0, b"2"), (0, b"3"), (0, b"4"), (1, b"3"), (1, b"4")]


def test_records_that_retention_has_deleted_are_an_error_and_no_silent_jump(settings: Settings, topic: str) -> None:
    delete_records(settings, topic, 0, 2)

    with (
        TopicReader(settings.client_config()) as reader,
        pytest.raises(RunError, match=r"signal-samples\[0\]: offset 1 is gone: retention deleted it"),
    ):
        list(reader.read({(topic, 0): (1, RECORDS)}))


def test_following_goes_on_with_what_comes_later(settings: Settings, topic: str) -> None:
    with TopicReader(settings.client_config()) as reader:
        following = reader.follow({(topic, 0): RECORDS}, 100)
        nothing = next(following)
        produce(settings, topic, [ToSend("a", b"later", partition=0)])
        later = next(messages for messages in following if messages)

    assert (nothing, values(later)) == ([], [(0, b"later")])  # type: ignore[arg-type]
