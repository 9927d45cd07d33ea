"""A system that version 0.1 left in Kafka: all its logs and committed offsets, in a file, put into any broker.

``python -m tests.golden.left`` wrote the file, with real workers on a real broker. It does nothing where there is one.
"""

from __future__ import annotations

import json
import lzma
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import ModelFactory
from core.models.signal_lstm import SignalExtractionLSTM
from stream_app.clients.admin import Cluster
from stream_app.local.broker import LocalBroker
from stream_app.routes import DEAD_LETTERS, ROUTES
from stream_app.settings import Settings, load_settings
from stream_app.topics.administration import create_topics, topic_ids
from stream_app.topics.ownership import is_claim
from tests.admin import alter_topic, commit, committed
from tests.broker import JARS_DIR, ToSend, consume_all, consume_until, produce
from tests.consistency import drained
from tests.golden.histories import APART_MS, TIME_MS, History, Phase, all_histories, records_of
from tests.golden.record import source
from tests.golden.scenarios import FOLDER, Headers
from tests.system_copy import names
from tests.worker import WorkerProcess

FILE = FOLDER / "system.msgpack.xz"
PARTITIONS = 2
OLDER_IN = 1
"""The partition whose committed offset is older than its states."""
_SOURCES = {"signal": "signal-samples", "casting": "casting-samples"}
_OUTPUTS = {task: ROUTES[topic][0] for task, topic in _SOURCES.items()}


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A record of a log; its offset is its place in its partition."""

    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """A committed offset of a source topic."""

    source: str
    partition: int
    offset: int
    metadata: str


class Left(msgspec.Struct, frozen=True):
    """All that Kafka holds of the system. Logs are named as `tests.system_copy.names` does."""

    recorded_from: str
    app_id: str
    topic_prefix: str
    logs: dict[str, list[Kept]]
    committed: list[Committed]
    next_ms: int
    """A time after all that was sent."""


def read_left() -> Left:
    """The system, as it was recorded."""
    return msgspec.msgpack.decode(lzma.decompress(FILE.read_bytes()), type=Left)


# Into a broker.


def put(left: Left, settings: Settings) -> None:
    """Write the system into the topics of the settings, which are there and empty. Every record keeps its offset in
    sources, outputs and dead letters; the topics' ids in committed offsets become those of the new ones.
    """
    keep_times(settings)
    for log, topic in names(settings).items():
        produce(settings, topic, [_renamed(one, left, settings) for one in left.logs[log] if not is_claim(one.key)])
    ids = topic_ids(settings, Cluster(settings))
    offsets = {}
    for one in left.committed:
        content = json.loads(one.metadata)
        content["topic_id"] = ids[settings.topic(one.source)]
        content["changelog_id"] = ids[settings.changelog(ROUTES[one.source][1])]
        offsets[settings.topic(one.source), one.partition] = (one.offset, json.dumps(content))
    commit(settings, offsets)


def keep_times(settings: Settings) -> None:
    """Let the sources keep the times of their records, and the records, whatever their age."""
    for topic in _SOURCES.values():
        alter_topic(settings, settings.topic(topic), message_timestamp_type="CreateTime", retention_ms="-1")


def _renamed(one: Kept, left: Left, settings: Settings) -> ToSend:
    renamed = {left.app_id.encode(): settings.app_id.encode()}
    renamed |= {f"{left.topic_prefix}{source}".encode(): settings.topic(source).encode() for source in ROUTES}
    headers = [(name, renamed.get(value, value)) for name, value in one.headers]
    return ToSend(one.key, one.value, headers, one.partition, one.timestamp)


# Recording.


def send(settings: Settings, histories: list[History], phase: Phase, start_ms: int) -> int:
    """Send a phase; the time after its last record."""
    records = records_of(histories, phase, start_ms)
    for task, topic in _SOURCES.items():
        produce(settings, settings.topic(topic), records[task])
    return start_ms + sum(map(len, records.values())) * APART_MS


@contextmanager
def _system() -> Iterator[tuple[Settings, Path]]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with LocalBroker(directory / "kafka", jars_dir=JARS_DIR) as broker:
            given = {"app_id": "left", "topic_prefix": "left-", "partitions": PARTITIONS, "session_timeout": 30}
            settings = load_settings(broker=broker.address, data_dir=directory, metrics_port=0, **given)
            create_topics(settings)
            keep_times(settings)
            yield settings, directory


def record() -> Left:
    """Let workers live the life of the system up to `Phase.WAITING`."""
    histories = all_histories()
    with _system() as (settings, directory):
        now_ms = send(settings, histories, Phase.OTHER_MODEL, TIME_MS)
        with WorkerProcess(settings.replace(**_other_models(directory)), directory) as worker:
            worker.start()
            drained(settings)
            assert worker.sigterm() == 0
        with WorkerProcess(settings, directory) as worker:
            worker.start()
            now_ms = send(settings, histories, Phase.COMMITTED, now_ms)
            drained(settings)
            older = committed(settings)
            now_ms = send(settings, histories, Phase.STATES_WRITTEN, now_ms)
            drained(settings)
            assert worker.sigterm() == 0
            worker.start(commit_interval=60, max_commit_interval=300)  # so that none comes before the kill
            newer = committed(settings)
            ends = _published(settings)
            now_ms = send(settings, histories, Phase.PUBLISHED, now_ms)
            _wait_for_outputs(settings, histories, ends)
            worker.sigkill()
            worker.wait()
            assert newer.keys() == older.keys()
            assert {at: offset for at, (offset, _) in committed(settings).items()} == {
                at: offset for at, (offset, _) in newer.items()
            }
        now_ms = send(settings, histories, Phase.WAITING, now_ms)
        chosen = {at: older[at] if at[1] == OLDER_IN else kept for at, kept in newer.items()}
        return _read(settings, chosen, now_ms)


def _other_models(directory: Path) -> dict[str, Path]:
    paths = {"signal_checkpoint": directory / "signal.pt", "defect_checkpoint": directory / "defect.pt"}
    ModelFactory.save_checkpoint(SignalExtractionLSTM(), paths["signal_checkpoint"])
    ModelFactory.save_checkpoint(SteelDefectLSTM({}), paths["defect_checkpoint"])
    return paths


def _published(settings: Settings) -> int:
    return len(consume_all(settings, settings.topic(_OUTPUTS["signal"])))


def _wait_for_outputs(settings: Settings, histories: list[History], before: int) -> None:
    """Wait for the predictions of what was sent last, and for the scores and dead letters beside them."""
    sent = sum(len(one.sent.get(Phase.PUBLISHED, [])) for one in histories if one.task == "signal")
    refused = 1  # in the stream "late"
    consume_until(settings, settings.topic(_OUTPUTS["signal"]), before + sent - refused)
    last = 219  # of "strand 1": its last score in this phase
    consume_until(
        settings,
        settings.topic(_OUTPUTS["casting"]),
        lambda found: any(one.key == b"strand 1" and one.json["step"] == last for one in found),
    )
    consume_until(settings, settings.topic(DEAD_LETTERS), 3)  # of "stepped back", "late" and "closed"


def _read(settings: Settings, offsets: dict[tuple[str, int], tuple[int, str]], now_ms: int) -> Left:
    logs = {
        log: [
            Kept(one.partition, one.timestamp, one.key, one.value, one.headers) for one in consume_all(settings, topic)
        ]
        for log, topic in names(settings).items()
    }
    sources = {settings.topic(source): source for source in ROUTES}
    kept = [Committed(sources[topic], at, *value) for (topic, at), value in sorted(offsets.items())]
    return Left(source(), settings.app_id, settings.topic_prefix, logs, kept, now_ms)


def main() -> None:
    """Write the file, if there is none."""
    if FILE.exists():
        print(f"{FILE.name} is there: it is never written again")  # noqa: T201
        return
    FILE.write_bytes(lzma.compress(msgspec.msgpack.encode(record()), preset=9))
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
