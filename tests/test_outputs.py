"""Publishing: order per topic-partition, groups that stay together, and nothing forgotten before its ack."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from core.errors import RunError
from core.native.records import Records
from stream_app.flow.outputs import ROOM_BYTES, OutputWriter, header_bytes
from stream_app.kafka.shipment import Arrived, Refused
from stream_app.native.batches import BatchBuilder
from stream_app.sizes import LARGEST_BATCH_BYTES as MAX_BATCH_BYTES
from tests.fakes import FakeBroker, Sent, settle, written_in

SOURCE = ("source", 0)


def outputs(*values: bytes, partition: int = 0) -> Records:
    """Outputs of records that were appended at 1, 2, 3 ... ms."""
    records = Records(partition)
    for number, value in enumerate(values, 1):
        records.append(b"key", value, 100 + number, number)
    return records


def states(*groups: list[bytes]) -> Records:
    """Table records of streams "0", "1" ...; those of a stream are tied."""
    records = Records(0)
    for number, values in enumerate(groups):
        for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
            records.append(b"%d" % number, value, number, 0, tied=left > 0)
    return records


class Shell:
    """A writer with what it has told."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.acked: list[tuple[str, list[int]]] = []
        self.failures: list[RunError] = []
        self.writer = OutputWriter(
            broker.producer_of, lambda topic, times: self.acked.append((topic, times.tolist())), self.failures.append
        )

    def publish(self, *values: bytes, topic: str = "output", partition: int = 0) -> None:
        self.writer.publish(SOURCE, topic, outputs(*values, partition=partition))

    def values(self, topic: str = "output", partition: int = 0) -> list[bytes | None]:
        return [written.value for written in self.broker.written(topic, partition)]


@pytest.fixture
async def shell() -> Shell:
    return Shell(FakeBroker(prompt=False))


async def test_records_leave_in_the_order_in_which_they_were_published(shell: Shell) -> None:
    expected = [b"%d" % number for number in range(60)]
    for start in range(0, 60, 3):
        shell.publish(*expected[start : start + 3])
        if start % 9 == 0:
            await settle()
        if start % 15 == 0:
            shell.broker.take(shell.broker.next_ones()[0])
    await settle()
    while shell.broker.waiting:
        shell.broker.take(shell.broker.waiting[0])
        await settle()

    assert shell.values() == expected


async def test_records_that_wait_for_their_turn_share_a_batch(shell: Shell) -> None:
    for number in range(10):
        shell.publish(b"%d" % number)
    await settle()

    (request,) = shell.broker.waiting
    assert len(request.records) == 10


async def test_a_record_that_is_larger_than_a_batch_goes_alone(shell: Shell) -> None:
    """A dead letter carries the record that it is about, whatever its size."""
    large = b"x" * (2 * MAX_BATCH_BYTES)
    shell.publish(b"before", large, b"after")
    await settle()

    assert [len(request.records) for request in shell.broker.waiting] == [1, 1, 1]


async def test_pending_holds_every_ack_that_is_out(shell: Shell) -> None:
    shell.publish(b"a")
    shell.publish(b"b", topic="other")
    await settle()
    assert len(shell.writer.pending()) == 2

    shell.broker.take(shell.broker.waiting[0])
    await settle()

    assert len(shell.writer.pending()) == 1
    shell.publish(b"c")
    assert len(shell.writer.pending()) == 2  # counted before it has left


async def test_append_times_are_told_with_the_ack(shell: Shell) -> None:
    shell.publish(b"a", b"b")
    shell.writer.publish(SOURCE, "output", outputs(b"c", b"d"), arrived_ms=5)
    shell.writer.publish_one(SOURCE, "output", 0, b"key", b"a dead letter", [])
    await settle()
    assert shell.acked == []

    shell.broker.take(shell.broker.waiting[0])
    await settle()

    assert shell.acked == [("output", [1, 2, 5, 5])]


async def test_append_times_stay_with_the_batch_that_took_the_record(shell: Shell) -> None:
    third = b"x" * (MAX_BATCH_BYTES // 3)
    shell.publish(third, third, third, third, third)
    await settle()
    for _ in range(3):
        shell.broker.take(shell.broker.waiting[0])
        await settle()

    assert shell.acked == [("output", [1, 2]), ("output", [3, 4]), ("output", [5])]


async def test_outputs_carry_their_source_offset_and_the_headers_that_all_share(shell: Shell) -> None:
    shared = [("content-type", b"application/msgpack"), ("empty", b"")]
    shell.writer.publish(SOURCE, "output", outputs(b"a", b"b"), header_bytes(shared))
    shell.writer.publish_one(SOURCE, "output", 0, b"key", b"c", [("error.reason", b"late")])
    await settle()

    (request,) = shell.broker.waiting
    assert [record.headers for record in request.records] == [
        [("source-offset", b"101"), *shared],
        [("source-offset", b"102"), *shared],
        [("error.reason", b"late")],
    ]


async def test_a_producer_of_transactions_gets_batches_of_its_transaction(shell: Shell) -> None:
    for transactional_id, expected in ((None, False), ("caststream-0", True)):
        shell.broker._txn_manager = SimpleNamespace(transactional_id=transactional_id)
        builder = shell.writer.new_builder(shell.broker, "output")
        builder.append(0, b"key", b"value", [])
        assert MemoryRecords(bytes(builder._build())).next_batch().is_transactional is expected


async def test_a_group_is_never_parted_by_the_end_of_a_batch(shell: Shell) -> None:
    third = b"x" * (MAX_BATCH_BYTES // 3 - 200)

    batches = shell.writer.publish_states(SOURCE, "changelog", states(*[[third, third]] * 3))
    await settle()

    assert [[record.key for record in request.records] for request in shell.broker.waiting] == [
        [b"0", b"0"],
        [b"1", b"1"],
        [b"2", b"2"],
    ]
    assert [batch.records for batch in batches] == [2, 2, 2]


async def test_a_group_that_is_larger_than_a_batch_goes_alone_and_whole(shell: Shell) -> None:
    """Whether it is too large is the broker's to say: parted it would be no state."""
    half = b"x" * (MAX_BATCH_BYTES // 2 + 1)

    shell.writer.publish_states(SOURCE, "changelog", states([b"before"], [half, half], [b"after"]))
    await settle()

    keys = [[record.key for record in request.records] for request in shell.broker.waiting]
    assert keys == [[b"0"], [b"1", b"1"], [b"2"]]


async def test_the_batches_of_groups_hold_nothing_else(shell: Shell) -> None:
    shell.publish(b"before", topic="changelog")
    (batch,) = shell.writer.publish_states(SOURCE, "changelog", states([b"state"]))
    await settle()
    while shell.broker.waiting:
        shell.broker.take(shell.broker.waiting[0])
        await settle()

    assert batch.records == 1
    assert batch.acked.result() == 1
    assert shell.values("changelog") == [b"before", b"state"]


async def test_a_refused_batch_fails_its_ack_and_tells_it_once(shell: Shell) -> None:
    shell.broker.refusals["write output"] = RuntimeError("not enough replicas")
    shell.publish(b"a", b"b")
    await settle()
    (ack,) = shell.writer.pending()
    shell.broker.take(shell.broker.waiting[0])
    await settle()

    assert [str(failure) for failure in shell.failures] == [
        "output[0]: 2 records were not accepted: RuntimeError('not enough replicas')"
    ]
    with pytest.raises(RunError, match="not enough replicas"):
        ack.result()
    assert shell.writer.pending() == [ack]  # a commit that asks later finds the loss too


async def test_a_producer_that_cannot_send_fails_all_that_waits(shell: Shell) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    shell.broker.send_batch = broken  # type: ignore[assignment,method-assign]
    shell.publish(b"x" * MAX_BATCH_BYTES, b"y" * MAX_BATCH_BYTES)
    acks = shell.writer.pending()
    await settle()

    assert len(acks) == 2
    assert all(isinstance(ack.exception(), RunError) for ack in acks)
    assert len(shell.failures) == 1


async def test_agents_wait_while_the_broker_does_not_keep_up(shell: Shell) -> None:
    large = b"x" * (MAX_BATCH_BYTES - 100)
    await shell.writer.room()
    shell.publish(*[large] * (ROOM_BYTES // len(large) + 1))
    room = asyncio.create_task(shell.writer.room())
    await settle()
    assert not room.done()

    while shell.broker.waiting:
        shell.broker.take(shell.broker.waiting[0])
        await settle()

    await room
    assert shell.writer.pending() == []


async def test_what_comes_of_a_stream_without_state_waits_until_it_is_known_to_be_new(shell: Shell) -> None:
    asked: list[int] = []
    shell.writer.on_opened = lambda: asked.append(shell.writer.openings)
    shell.publish(b"before")
    await settle()
    shell.writer.opened()
    shell.publish(b"of a new stream")
    await settle()

    assert asked == [1]
    assert [record.value for request in shell.broker.waiting for record in request.records] == [b"before"]
    shell.writer.opened()
    shell.writer.confirm(1)
    shell.publish(b"of another")
    await settle()
    assert len(shell.broker.waiting) == 2
    shell.writer.confirm(2)
    await settle()
    assert [record.value for request in shell.broker.waiting for record in request.records] == [
        b"before",
        b"of a new stream",
        b"of another",
    ]


async def test_batches_keep_to_what_their_topic_takes(shell: Shell) -> None:
    shell.writer.limits["output"] = 2_000
    shell.publish(*[b"x" * 300] * 12)
    await settle()

    assert len(shell.broker.waiting) > 1
    sizes = [sum(len(record.value or b"") + 100 for record in request.records) for request in shell.broker.waiting]
    assert max(sizes) <= 2_000


class PuttingBroker(FakeBroker):
    """A producer that may take a batch at once, as `FencedProducer` does; ``busy``: it has first to wait."""

    def __init__(self) -> None:
        super().__init__(prompt=False)
        self.busy = False
        self.put_at_once = self.went = 0

    def put(self, batch: BatchBuilder, topic: str, partition: int, arrived: Arrived, refused: Refused) -> bool:
        if self.busy:
            return False

        def done(request: asyncio.Future[Sent]) -> None:
            error = request.exception()
            arrived(request.result().offset) if error is None else refused(error)

        self.put_at_once += 1
        self._ask(f"write {topic}", topic=topic, partition=partition, records=written_in(batch)).done.add_done_callback(
            done
        )
        return True

    def go(self) -> None:
        self.went += 1


@pytest.fixture
async def putting() -> Shell:
    return Shell(PuttingBroker())


async def test_all_that_one_turn_publishes_is_put_at_its_end_without_a_task(putting: Shell) -> None:
    for partition in (0, 1):
        putting.publish(b"first", partition=partition)
        putting.publish(b"second", partition=partition)
    tasks = asyncio.all_tasks()
    await asyncio.sleep(0)

    assert [len(request.records) for request in putting.broker.waiting] == [2, 2]
    assert getattr(putting.broker, "went", 0) > 0
    assert asyncio.all_tasks() == tasks


async def test_what_was_held_leaves_together_and_in_the_same_turn(putting: Shell) -> None:
    for _ in range(2):
        putting.writer.hold()
        putting.publish(b"first")
        putting.publish(b"second", partition=1)
        assert putting.broker.waiting == []
        putting.writer.leave()
        assert [len(request.records) for request in putting.broker.waiting] == [1, 1]
        await settle()
        while putting.broker.waiting:
            putting.broker.take(putting.broker.waiting[0])

    putting.publish(b"third")
    await settle()
    assert len(putting.broker.waiting) == 1  # without a hold as before


async def test_what_was_published_before_a_hold_leaves_too(putting: Shell) -> None:
    putting.publish(b"before")
    putting.writer.hold()
    putting.publish(b"held", partition=1)
    await settle()
    putting.writer.leave()
    await settle()

    assert sorted(request.partition for request in putting.broker.waiting) == [0, 1]


async def test_order_holds_where_some_batches_are_put_at_once_and_some_have_to_wait(putting: Shell) -> None:
    broker: Any = putting.broker
    expected = [b"%d" % number for number in range(40)]
    for number, value in enumerate(expected):
        broker.busy = number % 7 in (2, 3, 4)
        putting.publish(value)
        if number % 3 == 0:
            await asyncio.sleep(0)
        if number % 5 == 0:
            await settle()
    broker.busy = False
    await settle()
    while broker.waiting:
        broker.take(broker.waiting[0])
        await settle()

    assert 0 < broker.put_at_once < len(expected)
    assert putting.values() == expected
    assert sum(len(times) for _, times in putting.acked) == len(expected)


async def test_what_needs_a_confirmation_is_not_put_before_it(putting: Shell) -> None:
    putting.writer.on_opened = lambda: None
    putting.writer.opened()
    putting.publish(b"of a new stream")
    await settle()
    assert putting.broker.waiting == []

    putting.writer.confirm(1)
    await settle()
    assert len(putting.broker.waiting) == 1


async def test_an_ack_that_is_asked_for_after_the_answer_has_it_too(putting: Shell) -> None:
    """Most batches are answered before anybody asks."""
    putting.broker.refusals["write other"] = RuntimeError("not enough replicas")
    (good,) = putting.writer.publish_states(SOURCE, "changelog", states([b"state"]))
    (bad,) = putting.writer.publish_states(SOURCE, "other", states([b"state"]))
    await settle()
    while putting.broker.waiting:
        putting.broker.take(putting.broker.waiting[0])
    await settle()

    assert good.acked.result() == 0
    with pytest.raises(RunError, match="not enough replicas"):
        bad.acked.result()
    assert putting.writer.pending() == [bad.acked]


async def test_nothing_is_put_after_the_assignment_has_ended(putting: Shell) -> None:
    putting.publish(b"late")
    putting.writer.abandon()
    await settle()

    assert putting.broker.waiting == []
