"""``caststream tail``: the records of an output topic, as lines to read or as JSON.

`tail` is the command: it reads every partition from its end (or beginning) without a consumer group, so that it
disturbs nobody, and never ends by itself unless it is given a count.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import msgspec
from confluent_kafka import Message

from core.callbacks import OnNote, unheard
from core.errors import RecordError, StartupError
from core.tasks.declaration import Declaration
from core.tasks.reading import find_declaration
from core.wire.records import decode_prediction, decode_score
from stream_app.cli.options import say, say_followed
from stream_app.cli.output_lines import ANY, line_writer, prediction_line, safe_text, score_line, time_text
from stream_app.clients.topic_reader import TopicReader
from stream_app.letters.letter import Choice, Letter, letter_of
from stream_app.routes import CASTING_SCORES, DEAD_LETTERS, SIGNAL_PREDICTIONS, Partition, route_of
from stream_app.settings import Settings

# What can be followed -> the topic's name before the prefix.
TOPICS = {"predictions": SIGNAL_PREDICTIONS, "scores": CASTING_SCORES, "dead-letters": DEAD_LETTERS}
_OF_SHIPPED = {"signal": "predictions", "casting": "scores"}
_BATCH = 500
FOLLOWING = {"auto.offset.reset": "latest"}  # where retention deletes faster than a person reads


def tail(
    kind: str | Declaration,
    *,
    client_config: Mapping[str, Any],
    topic: str,
    out: TextIO,
    as_json: bool = False,
    from_beginning: bool = False,
    count: int | None = None,
    choice: Choice | None = None,
    timeout_s: float = 30.0,
    on_ready: Callable[[], None] | None = None,
    on_wait: OnNote = unheard,
) -> int:
    """Write the records of ``topic`` to ``out``, one line each, as they come.

    Args:
        kind: one of ``TOPICS``, or the task whose outputs are shown.
        client_config: librdkafka's configuration of where the broker is.
        topic: the topic's name on the broker, prefix included.
        out: gets the lines; flushed whenever nothing more is at hand.
        as_json: one JSON object per line.
        from_beginning: start at the oldest record instead of at the next to come.
        count: end after so many records; None: go on until interrupted.
        choice: of dead letters, which ones; None: all.
        timeout_s: how long to look for the broker.
        on_wait: told once that the broker is waited for.
        on_ready: called when the positions are known: what is sent later will be seen.

    Returns:
        The number of records written.

    Raises:
        RunError: no broker, or a read failed.
        StartupError: the topic does not exist or may not be read, or ``kind`` or ``count`` is wrong.
    """
    if isinstance(kind, str) and kind not in _AS_TEXT:
        raise StartupError(f"cannot tail {kind!r}: one of {', '.join(TOPICS)}")
    if count is not None and count < 1:
        raise StartupError(f"count is {count}: must be 1 or more")
    show = _shows(kind, as_json)
    try:
        with TopicReader(client_config, "tail", timeout_s, more=FOLLOWING, on_wait=on_wait) as reader:
            bounds = {at: reader.bounds(at) for at in reader.partitions(topic)}
            # As numbers: the broker would resolve a logical end later, past new records.
            starts = {at: low if from_beginning else high for at, (low, high) in bounds.items()}
            if on_ready is not None:
                on_ready()
            return _follow(reader, starts, show, out, count, choice)
    except BrokenPipeError:  # the reader of our lines has gone (`| head`): it has what it wanted
        return 0


def follow_on_screen(
    settings: Settings,
    kind: str | Declaration,
    topic: str,
    *,
    as_json: bool,
    from_beginning: bool,
    count: int | None,
    choice: Choice | None = None,
) -> None:
    """Run `tail` for a command: lines on stdout, what else there is to say on stderr."""
    tail(
        kind,
        client_config=settings.client_config(),
        topic=topic,
        out=sys.stdout,
        as_json=as_json,
        from_beginning=from_beginning,
        count=count,
        choice=choice,
        on_wait=say,
        on_ready=say_followed(topic),
    )


def _shows(kind: str | Declaration, as_json: bool) -> Callable[[Message], str]:
    if isinstance(kind, str):
        return _AS_JSON[kind] if as_json else _AS_TEXT[kind]
    return _json_of_output(ANY.decode) if as_json else _text_of_output(ANY.decode, line_writer(kind))


def topic_of(settings: Settings, name: str) -> tuple[str | Declaration, str]:
    """Return what to follow, as `tail` takes it, and the topic on the broker.

    Args:
        name: one of ``TOPICS``, or a task file: its outputs.

    Raises:
        StartupError: the file cannot be used.
    """
    if name in TOPICS:
        return name, settings.topic(TOPICS[name])
    task = find_declaration(name, need_files=False)
    return _OF_SHIPPED.get(task.name, task), route_of(settings, task).output


def _follow(
    reader: TopicReader,
    starts: Mapping[Partition, int],
    show: Callable[[Message], str],
    out: TextIO,
    count: int | None,
    choice: Choice | None,
) -> int:
    shown = 0
    for messages in reader.follow(starts, _BATCH if count is None else min(_BATCH, count)):
        for message in messages:
            if shown != count and (choice is None or choice.takes(letter_of(message))):
                out.write(show(message) + "\n")
                shown += 1
        if messages:
            out.flush()
        if shown == count:
            break
    return shown


def _json_of_output(decode: Callable[..., Any]) -> Callable[[Message], str]:
    def show(message: Message) -> str:
        try:
            return msgspec.json.encode(decode(message.value(), message.headers())).decode()
        except RecordError as error:
            return msgspec.json.encode({"error": str(error), **_bytes_fields("value", message.value())}).decode()

    return show


def _text_of_output(decode: Callable[..., Any], tell: Callable[[Any], str]) -> Callable[[Message], str]:
    def show(message: Message) -> str:
        try:
            return tell(decode(message.value(), message.headers()))
        except RecordError as error:  # somebody else's record: the tail goes on
            return f"partition {message.partition()} offset {message.offset()} cannot be read: {error}"

    return show


def _json_of_dead_letter(message: Message) -> str:
    letter = letter_of(message)
    fields: dict[str, Any] = {
        "reason": letter.reason,
        "message": letter.message,
        "topic": letter.topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "timestamp_ms": letter.timestamp_ms,
        "letter_partition": letter.partition,
        "letter_offset": letter.offset,
    }
    fields |= _bytes_fields("key", letter.key) | _bytes_fields("value", letter.value)
    fields["headers"] = [{"name": name, **_bytes_fields("value", held)} for name, held in letter.headers]
    return msgspec.json.encode(fields).decode()


def _bytes_fields(name: str, data: bytes | None) -> dict[str, str | None]:
    """``data`` as text, or as base64 under a name of its own where it is none: nothing of it is lost."""
    try:
        return {name: None if data is None else data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data or b"").decode()}


def _text_of_dead_letter(message: Message) -> str:
    letter = letter_of(message)
    return (
        f"{time_text(letter.sent_ms)}  {source_text(letter)}  {_said(letter.reason)}: {_said(letter.message)}"
        f"  key {safe_text(letter.key)}  value {safe_text(letter.value)}  letter {letter.partition}/{letter.offset}"
    )


def source_text(letter: Letter) -> str:
    """Return the place of the record that a dead letter is about, on one line."""
    return f"{_said(letter.topic)} partition {_said(letter.source_partition)} offset {_said(letter.source_offset)}"


def _said(value: str | int | None) -> str:
    return "?" if value is None else safe_text(str(value).encode())


_AS_TEXT = {
    "predictions": _text_of_output(decode_prediction, prediction_line),
    "scores": _text_of_output(decode_score, score_line),
    "dead-letters": _text_of_dead_letter,
}
_AS_JSON = {
    "predictions": _json_of_output(decode_prediction),
    "scores": _json_of_output(decode_score),
    "dead-letters": _json_of_dead_letter,
}
