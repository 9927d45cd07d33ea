"""Counters of devices that start again, wrap, repeat or swap; and what the docs say of sequences and scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.broker import ToSend, consume_all, produce, wait_until
from tests.cases.case import case, expect
from tests.cases.room import Room

SIGNAL: dict[str, Any] = {"signal": 0.25, "condition_vector": [1, 0, 0, 0]}
CAST: dict[str, Any] = {
    "casting_speed": 1.2,
    "mold_temperature": 1520.0,
    "mold_level": 150.0,
    "cooling_water_flow": 200.0,
    "superheat": 25.0,
}
OUTCOMES = ("processed", "duplicate", "late", "dead_letter")
PATIENCE_S = 120.0
START_MS = 1_700_000_000_000
TOPICS = {"signal": ("signal-samples", "signal-predictions"), "casting": ("casting-samples", "casting-scores")}


@dataclass(frozen=True)
class Told:
    """What a worker made of some streams, each with a key of its own."""

    outputs: dict[str, list[dict[str, Any]]]
    letters: dict[str, list[tuple[int, str]]]
    """The samples' places, and reasons."""
    duplicates: float
    repeating: float
    log: str

    def steps(self, stream: str) -> list[int]:
        return [output["step"] for output in self.outputs.get(stream, [])]

    def summary(self, stream: str) -> str:
        letters = [reason for _, reason in self.letters.get(stream, [])]
        return f"{stream}: outputs of steps {self.steps(stream)}, dead letters {letters or 'none'}"


def _told(room: Room, kind: str, streams: dict[str, Sequence[dict[str, Any]]]) -> Told:
    """Send the streams' samples to a worker, wait for its end of them, stop it, and have `caststream verify` look."""
    settings = room.settings(partitions=1)
    source, output = (settings.topic(name) for name in TOPICS[kind])
    records = [ToSend(key, sample, partition=0) for key, samples in streams.items() for sample in samples]
    with room.worker(settings) as worker:
        worker.start()
        places = [offset for _, offset in produce(settings, source, records)]

        def taken() -> float:
            return sum(worker.metric("caststream_records_total", topic=source, outcome=outcome) for outcome in OUTCOMES)

        wait_until(lambda: taken() == len(records), PATIENCE_S, "all records to be taken")
        duplicates = worker.metric("caststream_duplicates_total", topic=source, reason="step")
        repeating = worker.metric("caststream_repeating_streams_total", topic=source)
        worker.sigterm()
        log = worker.log
    outputs: dict[str, list[dict[str, Any]]] = {}
    for record in consume_all(settings, output):
        outputs.setdefault((record.key or b"").decode(), []).append(record.json)
    letters: dict[str, list[tuple[int, str]]] = {}
    for record in consume_all(settings, settings.topic("dead-letters")):
        key, at = (record.key or b"").decode(), int(record.header("error.offset") or -1)
        place = at - places[[one.key for one in records].index(key)]
        letters.setdefault(key, []).append((place, (record.header("error.reason") or b"").decode()))
    verified = room.caststream(
        "verify", broker=settings.broker, app_id=settings.app_id, topic_prefix=settings.topic_prefix, partitions=1
    )
    expect(verified.status == 0, f"verify: {verified.out}{verified.err}")
    return Told(outputs, letters, duplicates, repeating, log)


def _counted(sample: dict[str, Any], steps: Sequence[int], timed: bool, **fields: Any) -> list[dict[str, Any]]:
    """A sample at each step; with times that go on by 10 ms, whatever the step."""
    return [
        {**sample, **fields, "step": step, **({"timestamp_ms": START_MS + 10 * i} if timed else {})}
        for i, step in enumerate(steps)
    ]


@case(
    "data-69",
    tried="samples 0, 1, 2, 2, 1, 3 and 0, 1, 3, 2, 4 of a sender that repeats or swaps, named and not, timed and not",
    before="the swapped one, never applied, was dropped as a duplicate: no dead letter, counted wrongly",
    slow=True,
)
def repeated_and_swapped(room: Room) -> str:
    repeated, swapped = (0, 1, 2, 2, 1, 3), (0, 1, 3, 2, 4)
    told = _told(
        room,
        "signal",
        {
            "repeats": _counted(SIGNAL, repeated, timed=False, sequence="s"),
            "swaps": _counted(SIGNAL, swapped, timed=False, sequence="s"),
            "swaps-timed": [{**SIGNAL, "sequence": "s", "step": n, "timestamp_ms": START_MS + n} for n in swapped],
            "swaps-unnamed": _counted(SIGNAL, swapped, timed=False),
        },
    )
    expect(told.steps("repeats") == [0, 1, 2, 3] and not told.letters.get("repeats"), told.summary("repeats"))
    for stream in ("swaps", "swaps-timed", "swaps-unnamed"):
        right = told.steps(stream) == [0, 1, 3, 4] and told.letters.get(stream) == [(3, "late")]
        expect(right, told.summary(stream))
    expect(told.duplicates == 2, f"{told.duplicates:g} duplicates")
    return f"{told.summary('swaps')}; of the repeats {told.duplicates:g} counted duplicates; verify passes"


WRAPPED = (*range(65_531, 65_536), *range(10))


@case(
    "data-70",
    tried="a counter of 16 bits: 65531 to 65535, then 0 to 9, in a named sequence, with timestamp_ms",
    before="all after the wrap dropped as duplicates for 300 s: no output, no dead letter, no line, no alert",
    slow=True,
)
def counter_wraps(room: Room) -> str:
    to_1 = (*range(65_531, 65_536), *range(1, 11))
    told = _told(
        room,
        "signal",
        {
            "named": _counted(SIGNAL, WRAPPED, timed=True, sequence="s"),
            "to-1": _counted(SIGNAL, to_1, timed=True, sequence="s"),
            "to-1-unnamed": _counted(SIGNAL, to_1, timed=True),
            "unnamed": _counted(SIGNAL, WRAPPED, timed=True),
            "unnamed-untimed": _counted(SIGNAL, WRAPPED, timed=False),
        },
    )
    before = list(WRAPPED[:5])
    for stream, lost, first in (("named", 0, 1), ("to-1", 1, 2), ("to-1-unnamed", 1, 2)):
        right = told.steps(stream) == [*before, *range(first, 10 + lost)]
        expect(right and told.letters.get(stream) == [(5, "step_back")], told.summary(stream))
        expect(told.outputs[stream][5].get("gap") == first, f"{stream}: {told.outputs[stream][5]}")
    for stream in ("unnamed", "unnamed-untimed"):
        expect(told.steps(stream) == [*before, *range(10)], told.summary(stream))
        expect(stream not in told.letters, told.summary(stream))
    fresh = told.outputs["unnamed"][5]["prediction"]
    expect(told.outputs["named"][5]["prediction"] == fresh, "the named stream did not begin at zeros")
    return f"{told.summary('named')}; begins at zeros; verify passes"


@case(
    "data-70b",
    tried="the same counters without timestamp_ms: from step 0 on, then again 0 to 14; and joined at 65531",
    before="dropped as duplicates in silence",
    slow=True,
)
def counter_starts_again_without_times(room: Room) -> str:
    told = _told(
        room,
        "signal",
        {
            "from-0": _counted(SIGNAL, [*range(20), *range(15)], timed=False, sequence="s"),
            "joined": _counted(SIGNAL, WRAPPED, timed=False, sequence="s"),
        },
    )
    expect(told.steps("from-0") == list(range(20)), told.summary("from-0"))
    expect(told.log.count("sends only steps that it has sent before") == 1, told.log[-500:])
    expect("stream 'from-0'" in told.log and told.repeating == 1, f"told {told.repeating:g} times")
    expect(told.duplicates == 15, f"{told.duplicates:g} duplicates")
    late = [(place, "late") for place in range(5, 15)]
    expect(told.letters.get("joined") == late, told.summary("joined"))
    return "15 counted duplicates, one line that names the stream, an alert; joined in the middle: dead letters, late"


@case(
    "data-70c",
    tried="a strand whose counter starts again in the middle of a cast, after odd repeats and a block sent twice",
    before="all after the restart dropped as duplicates for 300 s",
    slow=True,
)
def cast_starts_again(room: Room) -> str:
    odd = _counted(CAST, [*range(120), 50, *range(120, 130), *range(40)], timed=True, sequence="c")
    told = _told(room, "casting", {"strand": [*odd[:60], *odd[50:60], *odd[60:]]})
    letters = [reason for _, reason in told.letters.get("strand", [])]
    expect(letters == ["step_back", "step_back"], told.summary("strand"))
    found = [(score["step"], score["final"]) for score in told.outputs.get("strand", [])]
    expect(found == [(99, False), (129, False), (129, True)], f"scores at {found}")
    return f"dead letters {letters}, the part before gets its final score: {found}; verify passes"


@case(
    "text-101",
    tried="100 samples of one cast without `end`, then one of the next; and 100 of which the last says `end`",
    before="the docs: the final score replaces a hop score at the same step, whatever caused it",
    slow=True,
)
def hop_and_final_score(room: Room) -> str:
    cast = _counted(CAST, range(100), timed=True, sequence="c1")
    told = _told(
        room,
        "casting",
        {"next": [*cast, {**CAST, "sequence": "c2", "step": 0}], "says-end": [*cast[:-1], cast[-1] | {"end": True}]},
    )
    both = [(score["step"], score["final"]) for score in told.outputs["next"]]
    one = [(score["step"], score["final"]) for score in told.outputs["says-end"]]
    expect(both == [(99, False), (99, True)] and one == [(99, True)], f"{both}, {one}")
    return "as the docs say now: two at step 99, told apart by `final`; with `end` the final one alone"


@case(
    "text-102",
    tried="the attention peak of a cast whose sensors stand still, as another kind of machine may find it",
    before="verify refused another step of the tie; the comment: the same on every machine",
    slow=True,
)
def tied_peaks(room: Room) -> str:
    import msgspec
    import numpy as np

    from core.audit.samples import SampleReader
    from core.audit.scope import Scope
    from core.audit.shipped_models import DefectWindows
    from core.audit.windows import WindowAudit
    from core.engines.infer import attention_of
    from core.engines.results import StreamRules, WindowRules
    from core.models.factory import load_model
    from core.models.shipped import checkpoint_path
    from core.tasks.reading import shipped

    model = load_model(checkpoint_path("defect"), "defect")
    task = shipped("casting")
    samples = SampleReader.of(task)
    audit = WindowAudit(task, samples, DefectWindows(model), StreamRules(), WindowRules(), Scope(committed=500))
    for step in range(500):
        value = json.dumps({**CAST, "sequence": "c", "step": step}).encode()
        audit.feed(step, START_MS + step, b"flat", value, ())
    audit.finish(0)
    last = len(audit) - 1
    score: Any = audit.expected(last)
    peak = score.attention_peak

    def passes(step: int) -> bool:
        return not audit.differences(last, msgspec.structs.replace(score, attention_peak=step))

    attention = attention_of(model, np.array([list(CAST.values())] * score.length, np.float32))
    tied = [int(step) for step in np.flatnonzero(attention >= attention.max() - 1.9e-6)]
    others = [int(step) for step in np.flatnonzero(attention < attention.max() - 1e-4)]
    expect(all(map(passes, tied)), f"peak {peak}, steps {tied} tie")
    expect(not any(map(passes, others)), f"peak {peak}, one of {others} passes")
    return f"verify takes any of the {len(tied)} steps that tie with {peak}, and no other of {len(others)}"


@case(
    "text-103",
    tried="a sequence `a`, then samples without a name that begin again at step 0, then `a` again",
    before="late; nothing said so",
    slow=True,
)
def the_sequence_before(room: Room) -> str:
    said = [("a", 0), ("a", 1), (None, 0), (None, 1), (None, 0), (None, 1), ("a", 2)]
    told = _told(room, "signal", {"press": [{**SIGNAL, "sequence": name, "step": step} for name, step in said]})
    expect(told.steps("press") == [0, 1, 0, 1, 0, 1], told.summary("press"))
    expect(told.letters.get("press") == [(6, "late")], told.summary("press"))
    return "late, as the docs say: a beginning at step 0 is no other sequence"
