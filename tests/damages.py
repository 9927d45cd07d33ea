"""What can go wrong with the outputs and states of a system, each damage with the problems that an audit must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core.engines.state import pack_state, seal, unpack_state
from core.engines.table_keys import HEAD, SEGMENT
from core.native.streams import StreamState
from stream_app.settings import Settings
from tests.broker import Received, ToSend
from tests.feeds import MSGPACK, Feed, casting_feed, in_sequence, msgpack, signal_feed
from tests.offline import casting_samples, signal_samples
from tests.system_copy import System, with_fields, with_header

PREDICTIONS, SCORES, LETTERS = "signal-predictions", "casting-scores", "dead-letters"
STATES, WINDOWS = "signal-states", "casting-windows"


class Load:
    """Both kinds of streams, and everything that the record table speaks of but pauses."""

    def __init__(self, settings: Settings) -> None:
        self.plain, self.odd, self.unnamed = (signal_feed(settings, number % 2) for number in range(3))
        self.casts, self.short = casting_feed(settings, 0), casting_feed(settings, 1)

    @property
    def feeds(self) -> list[Feed]:
        return [self.plain, self.odd, self.unnamed, self.casts, self.short]

    def send(self) -> None:
        """The first half; streams are in the middle of their sequences then."""
        samples = signal_samples(120, 1)
        self.plain.send(*in_sequence(samples[:60], "A"))
        self.odd.send(*samples[:3], samples[1], *samples[9:20], b"{", {"signal": 1}, *samples[90:100])
        self.unnamed.send(*({**sample, "step": None} for sample in samples[:30]))
        cast = casting_samples(140, 2)
        self.casts.send(*in_sequence(cast[:50], "cast-1"))
        self.short.send(*in_sequence(casting_samples(110, 3), "cast-1"))

    def send_rest(self) -> None:
        """The other half: sequences change, casts end, some records are late."""
        samples, cast = signal_samples(120, 1), casting_samples(140, 2)
        timed = {**samples[40], "sequence": "B", "timestamp_ms": 1_700_000_000_077}
        self.plain.send(*in_sequence(samples[60:80], "A"), *in_sequence(samples[:40], "B"))
        self.plain.send(*in_sequence(samples[80:82], "A"), timed)
        self.odd.send(samples[0], *samples[1:5], {**samples[5], "step": 10**9}, *samples[5:9])
        self.odd.send(*(msgpack(sample) for sample in samples[9:12]), headers=MSGPACK)
        self.odd.send(b"?", ToSend(None, samples[0], partition=self.odd.partition), ToSend(b"\xff", b"", partition=0))
        self.unnamed.send(*({**sample, "step": None} for sample in samples[30:50]), *samples[:5])
        self.unnamed.send(*samples[:10], partition=1 - self.unnamed.partition)
        self.casts.send(*in_sequence(cast[50:139], "cast-1"), {**cast[139], "sequence": "cast-1", "end": True})
        self.casts.send(*in_sequence(cast[:2], "cast-1"), *in_sequence(cast[:115], "cast-2"))
        self.short.send(*in_sequence(casting_samples(20, 4), "cast-2"), *in_sequence(casting_samples(3, 5), "cast-3"))


Damage = Callable[[System, Load], None]
DAMAGES: dict[str, tuple[Damage, dict[str, int]]] = {}


def damage(*counts: str) -> Callable[[Damage], Damage]:
    """A function that damages a system so that each of these kinds of problem is found once; none: it does no harm."""

    def add(function: Damage) -> Damage:
        DAMAGES[function.__name__] = (function, dict.fromkeys(counts, 1))
        return function

    return add


@damage()
def no_damage_is_done(system: System, load: Load) -> None:
    pass


@damage("missing")
def a_prediction_is_dropped(system: System, load: Load) -> None:
    system.drop(PREDICTIONS, system.only(PREDICTIONS, load.plain.name, sequence="A", step=17))


@damage("missing")
def a_final_score_is_dropped(system: System, load: Load) -> None:
    system.drop(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("missing")
def the_final_score_of_a_short_cast_is_dropped(system: System, load: Load) -> None:
    system.drop(SCORES, system.only(SCORES, load.short.name, reason="too_short"))


@damage()
def an_output_is_not_there_yet(system: System, load: Load) -> None:
    last = system.only(PREDICTIONS, load.plain.name)
    system.drop(PREDICTIONS, last)
    system.committed["signal-samples", load.plain.partition] = int(last.header("source-offset") or 0)


@damage()
def nothing_is_committed(system: System, load: Load) -> None:
    system.committed.clear()
    system.logs[LETTERS].clear()
    system.drop(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("repeated")
def a_prediction_is_repeated(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name, step=17, sequence="A"))


@damage("repeated")
def a_score_is_repeated(system: System, load: Load) -> None:
    system.put(SCORES, system.only(SCORES, load.casts.name, final=True))


@damage("repeated", "differing")
def a_prediction_is_repeated_with_another_value(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.put(PREDICTIONS, record, value=with_fields(record, prediction=record.json["prediction"] + 1e-4))


def _changed(log: str, feed: str, **fields: Any) -> Damage:
    def harm(system: System, load: Load) -> None:
        which = {} if log == PREDICTIONS else {"final": True, "sequence": "cast-1"}
        record = system.only(log, getattr(load, feed).name, **which)
        new = {name: value(record.json[name]) if callable(value) else value for name, value in fields.items()}
        system.change(log, record, value=with_fields(record, **new))

    return harm


for _name, _value in {
    "prediction": lambda value: value + 1e-4,
    "stream": "other",
    "sequence": "other",
    "step": 99,
    "timestamp_ms": 1_700_000_000_078,
    "gap": 1,
    "model": "0123456789ab",
}.items():
    DAMAGES[f"a_prediction_has_another_{_name}"] = (_changed(PREDICTIONS, "plain", **{_name: _value}), {"differing": 1})
for _name, _value in {
    "probability": lambda value: value + 1e-4,
    "attention_peak": lambda value: value - 1,
    "start": 1,
    "length": 99,
    "model": "0123456789ab",
}.items():
    DAMAGES[f"a_score_has_another_{_name}"] = (_changed(SCORES, "casts", **{_name: _value}), {"differing": 1})


@damage()
def a_prediction_differs_within_the_tolerance(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.change(PREDICTIONS, record, value=with_fields(record, prediction=record.json["prediction"] + 5e-6))


@damage("differing")
def a_score_has_no_probability(system: System, load: Load) -> None:
    record = system.only(SCORES, load.casts.name)
    system.change(SCORES, record, value=with_fields(record, probability=None))


@damage("differing")
def an_output_has_the_key_of_another_stream(system: System, load: Load) -> None:
    system.change(PREDICTIONS, system.only(PREDICTIONS, load.unnamed.name, step=20), key=b"other")


@damage("out_of_order")
def two_predictions_are_swapped(system: System, load: Load) -> None:
    log = system.logs[PREDICTIONS]
    first, second = (log.index(system.only(PREDICTIONS, load.plain.name, sequence="A", step=step)) for step in (7, 8))
    log[first], log[second] = log[second], log[first]


@damage("unexpected")
def a_duplicate_has_an_output(system: System, load: Load) -> None:
    key = load.odd.name.encode()
    record = next(record for record in system.logs[PREDICTIONS] if record.key == key and record.json["step"] == 2)
    duplicate = int(record.header("source-offset") or 0) + 1
    system.put(PREDICTIONS, record, headers=with_header(record, "source-offset", b"%d" % duplicate))


@damage("unexpected")
def a_cast_that_goes_on_has_a_final_score(system: System, load: Load) -> None:
    record = system.only(SCORES, load.casts.name, sequence="cast-2", final=False)
    system.put(SCORES, record, value=with_fields(record, final=True))


@damage("unexpected")
def an_output_is_of_a_record_that_was_never_sent(system: System, load: Load) -> None:
    record = system.only(PREDICTIONS, load.plain.name)
    system.put(PREDICTIONS, record, headers=with_header(record, "source-offset", b"999999"))


@damage("unexpected")
def an_output_does_not_say_where_it_comes_from(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name), headers=[])


@damage("unexpected")
def an_output_cannot_be_read(system: System, load: Load) -> None:
    system.put(PREDICTIONS, system.only(PREDICTIONS, load.plain.name), value=b"{")


@damage()
def another_application_writes_to_the_same_topics(system: System, load: Load) -> None:
    for log in (PREDICTIONS, SCORES, LETTERS):
        record = system.logs[log][-1]
        system.put(log, record, headers=with_header(record, "app-id", b"another"))


@damage("dead_letters_missing")
def a_dead_letter_is_dropped(system: System, load: Load) -> None:
    system.drop(LETTERS, system.only(LETTERS, load.odd.name))


@damage("dead_letters_repeated")
def a_dead_letter_is_repeated(system: System, load: Load) -> None:
    system.put(LETTERS, system.only(LETTERS, load.casts.name))


@damage("dead_letters_differing")
def a_dead_letter_has_another_reason(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    system.change(LETTERS, record, headers=with_header(record, "error.reason", b"late"))


@damage("dead_letters_differing")
def a_dead_letter_has_another_value(system: System, load: Load) -> None:
    system.change(LETTERS, system.only(LETTERS, load.odd.name), value=b"!")


@damage("dead_letters_differing")
def a_dead_letter_has_another_value_and_its_record_had_a_header_of_ours(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    headers = [("error.value_bytes", b"9"), *record.headers]  # behind it stands the worker's block, which says nothing
    system.change(LETTERS, record, value=b"!", headers=headers)


@damage("dead_letters_differing")
def a_dead_letter_has_another_key(system: System, load: Load) -> None:
    system.change(LETTERS, system.only(LETTERS, load.odd.name), key=b"other")


@damage("dead_letters_unexpected")
def a_good_record_has_a_dead_letter(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    good = int(system.only(PREDICTIONS, load.odd.name).header("source-offset") or 0)
    system.put(LETTERS, record, headers=with_header(record, "error.offset", b"%d" % good))


@damage("dead_letters_unexpected", "dead_letters_missing")
def a_dead_letter_stands_in_another_partition(system: System, load: Load) -> None:
    record = system.only(LETTERS, load.odd.name)
    system.change(LETTERS, record, partition=1 - record.partition)


@damage("states_missing")
def the_records_of_a_state_are_dropped(system: System, load: Load) -> None:
    system.logs[STATES] = [record for record in system.logs[STATES] if record.key != load.plain.name.encode()]


@damage("states_missing")
def a_state_is_deleted_that_was_not_idle(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), value=None)


@damage("states_differing")
def a_state_is_older_than_the_committed_offset(system: System, load: Load) -> None:
    key = load.plain.name.encode()
    first = next(record for record in system.logs[STATES] if record.key == key)
    system.logs[STATES] = [record for record in system.logs[STATES] if record.key != key or record is first]


@damage()
def an_old_state_is_written_after_a_newer_one(system: System, load: Load) -> None:
    system.put(STATES, next(record for record in system.logs[STATES] if record.key == load.plain.name.encode()))


@damage("states_differing")
def the_hidden_state_is_another(system: System, load: Load) -> None:
    record, state = system.only(STATES, load.plain.name), StreamState()
    model, body = unpack_state(record.value or b"", state)
    hidden = np.frombuffer(body, "<f4").copy()
    hidden[10] += 1e-3
    system.put(STATES, record, value=pack_state(state, model, hidden.tobytes()))


@damage("states_differing")
def a_state_stands_at_another_step(system: System, load: Load) -> None:
    record, state = system.only(STATES, load.plain.name), StreamState()
    model, body = unpack_state(record.value or b"", state)
    state.step += 1
    system.put(STATES, record, value=pack_state(state, model, body))


@damage("states_differing")
def a_state_is_corrupt(system: System, load: Load) -> None:
    record = system.only(STATES, load.plain.name)
    system.put(STATES, record, value=(record.value or b"")[:-1] + b"?")


@damage("states_differing")
def a_stream_that_was_never_met_has_a_state(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), key=b"never met")


@damage("states_differing")
def a_foreign_record_stands_in_a_changelog(system: System, load: Load) -> None:
    system.put(STATES, system.only(STATES, load.plain.name), headers=[])


def _segment(system: System, load: Load) -> Received:
    """The last segment of the window that goes on."""
    name = load.casts.name.encode()
    return [
        record
        for record in system.logs[WINDOWS]
        if record.value and (record.key or b"")[:1] == SEGMENT and name in (record.key or b"")
    ][-1]


@damage("states_differing")
def a_segment_of_a_window_is_deleted(system: System, load: Load) -> None:
    system.put(WINDOWS, _segment(system, load), value=None)


@damage("states_differing")
def a_window_holds_other_samples(system: System, load: Load) -> None:
    record = _segment(system, load)
    payload = bytearray(record.value or b"")[:-4]
    payload[-1] ^= 1
    system.put(WINDOWS, record, value=seal(bytes(payload)))


@damage()
def a_segment_is_there_that_no_head_needs(system: System, load: Load) -> None:
    record = _segment(system, load)
    system.put(WINDOWS, record, key=SEGMENT + (3).to_bytes(8) + load.casts.name.encode())


@damage("states_differing")
def the_head_of_a_window_is_closed(system: System, load: Load) -> None:
    record, state = system.only(WINDOWS, (HEAD + load.casts.name.encode()).decode()), StreamState()
    model, body = unpack_state(record.value or b"", state)
    state.closed = True
    system.put(WINDOWS, record, value=pack_state(state, model, body))
