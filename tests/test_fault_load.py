"""What the fault suite's producers send, through a worker that dies now and then, as an audit expects it."""

from __future__ import annotations

import random

import pytest

from core.audit.scope import Scope
from core.engines.results import StreamRules
from tests.audits import audit_of, engine, expected_of, heads_of, problems_of
from tests.faults.load import LoadPlan
from tests.faults.streams import Habits
from tests.reference import CrashingWorker
from tests.strategies import Event, FakeRecord

pytestmark = pytest.mark.slow

RECORDS, STREAMS = 1_500, 24
RULES = StreamRules(idle_timeout_ms=60_000)


def sent(kind: str, seed: str) -> list[FakeRecord]:
    """The streams' records as they arrive in one partition."""
    drawn = random.Random(seed)
    plan = LoadPlan(strands=24, habits=Habits(restart=0.03, odd_step=0.01))
    streams = [iter(one) for one, _ in plan.streams(1, seed) if one.topic == f"{kind}-samples"]
    records: list[FakeRecord] = []
    while len(records) < RECORDS:
        record = next(drawn.choice(streams[:STREAMS]))
        if record.topic:
            at = len(records)
            records.append(FakeRecord(0, at, 10 * at, record.key, record.value, record.headers))
    return records


@pytest.mark.parametrize("kind", ["signal", "casting"])
@pytest.mark.parametrize("seed", ["a", "c"])
def test_a_worker_that_dies_gives_what_the_audit_of_the_load_expects(kind: str, seed: str) -> None:
    records, drawn = sent(kind, seed), random.Random(seed)
    events = [Event(record) for record in records]
    worker = CrashingWorker(lambda table: engine(kind, RULES, table))

    while todo := worker.unread(events)[: drawn.randrange(1, 60)]:
        worker.process(todo)
        what = drawn.choice(("commit", "tear", "die", "die before the outputs", *["go on"] * 8))
        if what in ("commit", "tear"):
            worker.commit(torn_after=drawn.randrange(5) if what == "tear" else None)
        if what in ("tear", "die", "die before the outputs"):
            worker.crash(outputs_were_sent=what != "die before the outputs")
    worker.commit()

    states = {key: offset for key, (offset, _) in heads_of(kind, worker.log, 0).items()}
    audit = audit_of(kind, records, Scope(committed=RECORDS, states=states), RULES)
    letters = {(0, offset): letter.reason for offset, letter in audit.letters.items()}
    assert letters == worker.letters
    assert {"step_back", "late"} <= set(letters.values())
    assert set(expected_of(audit, 0)) == {output.identity for output in worker.published}
    assert {key: [] for key in states} == problems_of(kind, audit, worker.log, 0)
