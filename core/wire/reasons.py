"""The reasons of dead letters, in the order in which a record is judged: what the record is, and what its sender does.

`core.wire.records` raises them, and the documentation lists them from here.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """A reason in words; both texts are Markdown."""

    record: str
    """The fault, as the rest of a sentence that begins with "the record"."""
    remedy: str
    """The remedy at the sender."""


REASON_TEXTS = {
    "no_key": Reason("has no key, or an empty one", "set the key: it names the stream"),
    "key_too_long": Reason("has a key above 255 bytes", "shorten it"),
    "key_not_utf8": Reason(
        "has a key that is not UTF-8 text, or that holds a NUL",
        "use a serializer of strings: some clients write numbers in binary, and a schema registry's serializer puts "
        "five bytes before the text",
    ),
    "content_type": Reason(
        "has the header `content-type` of another kind; parameters, capitals, blanks and quotes do not count",
        "send `application/json` (also `text/json`, `...+json`), `application/msgpack` (also `application/x-msgpack`, "
        "`application/vnd.msgpack`), or no such header",
    ),
    "not_decodable": Reason(
        "has no value, or one that is not JSON (MessagePack if the header says so); `NaN` is not JSON",
        "read the message, which says what the value looks like: a schema registry's serializer, gzip, UTF-16, several "
        "objects, MessagePack without its header",
    ),
    "missing_field": Reason(
        "lacks a field, or the field is null",
        "send it; the message says where the sample seems to stand (`payload`, `fields`). A sensor that failed has no "
        "sample",
    ),
    "wrong_type": Reason(
        "has a field of another type, such as a number in quotes, or is an array of samples",
        "correct the type; send one record for each sample",
    ),
    "vector_length": Reason("has a `condition_vector` of another length than 4", "send four numbers"),
    "not_finite": Reason("has NaN or an infinity, in MessagePack", "send nothing: a sensor that failed has no sample"),
    "out_of_range": Reason(
        "has a value beyond 1e6, a `step` that is negative or above 2^53-1, or a `timestamp_ms` outside of the years "
        "2000 to 2100",
        "look at the unit: times are milliseconds since 1970",
    ),
    "sequence_too_long": Reason("has a `sequence` above 255 bytes", "shorten it"),
    "step_jump": Reason(
        "has a `step` more than `max_step_jump` ahead",
        "look for a counter that went wrong; after `idle_timeout` of silence any step is accepted",
    ),
    "step_back": Reason(
        "has a `step` at or below the last one, and a later `timestamp_ms` than any good record before",
        "name another `sequence` when a counter starts again; give a repeat the time of its sample",
    ),
    "late": Reason(
        "belongs to the sequence before the current one, or to a cast that has ended; or its step was skipped by a gap "
        "and comes now",
        "use a name once; send in order",
    ),
}
