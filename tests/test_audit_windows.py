"""The audit of a declared window task: against its engine through crashes, and altered outputs are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from core.audit.samples import SampleReader
from core.audit.scope import Scope
from core.audit.windows import WindowAudit
from core.engines.results import StreamRules
from core.engines.window_engine import WindowEngine
from core.tasks.reading import read_declaration
from stream_app.verify.audits import declared_windows
from stream_app.verify.outputs import TOLERANCE
from tests.audits import ALL, heads_of, in_partition, problems_of
from tests.motion import WINDOW, model_of, write_motion
from tests.reference import LAST_OF_ALL_MS, CrashingWorker, Published, read_outputs, stream_rules
from tests.strategies import FakeRecord, MemoryTable, examples
from tests.test_task_scorer import POLICIES, motions, record


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion(tmp_path_factory.mktemp("motion"))


def audit_of(
    path: Path, records: list[FakeRecord], scope: Scope, rules: StreamRules | None = None, now_ms: int = 0
) -> WindowAudit:
    """The finished audit of a partition's records."""
    task = read_declaration(path)
    model = declared_windows(task, path.with_suffix(".onnx").read_bytes(), "any")
    audit = WindowAudit(task, SampleReader.of(task), model, rules or stream_rules(), WINDOW, scope)
    for each in records:
        assert each.timestamp is not None
        audit.feed(each.offset, each.timestamp, each.key, each.value, each.headers)
    audit.finish(now_ms)
    return audit


def differences(audit: WindowAudit, output: Published) -> dict[str, float]:
    """The parts of an output that are off by more than two machines may differ."""
    row = audit.row(output.source_offset, output.fields["final"])
    found = msgspec.convert(output.fields, audit.output_type)
    return {name: off for name, off in audit.differences(row, found).items() if off > TOLERANCE}


@examples(25)
@given(data=st.data(), events=motions, policy=POLICIES)
def test_a_worker_of_a_declared_window_task_passes_an_audit_at_any_commit(
    path: Path, data: Any, events: Any, policy: str
) -> None:
    rules = stream_rules(policy)
    worker = CrashingWorker(lambda table: WindowEngine(model_of(path).task, rules, WINDOW, table))
    worker.live(events, data.draw)
    now_ms = max(event.record.timestamp or 0 for event in events)
    if data.draw(st.booleans()):
        worker.end()
        now_ms = LAST_OF_ALL_MS

    for partition in (0, 1):
        states = {key: offset for key, (offset, _) in heads_of("casting", worker.log, partition).items()}
        scope = Scope(committed=worker.committed[partition], states=states)
        audit = audit_of(path, in_partition(events, partition), scope, rules, now_ms)

        published = [output for output in worker.published if output.partition == partition]
        assert [differences(audit, output) for output in published] == [{}] * len(published)
        identities = {(output.source_offset, output.fields["final"]) for output in published}
        required = {(audit.offset(row), audit.due[row].final) for row in range(len(audit)) if audit.required[row]}
        assert required <= identities
        assert {key: [] for key in states} == problems_of("casting", audit, worker.log, partition)


def whole(path: Path) -> tuple[WindowAudit, list[Published]]:
    """An audit, and what an engine gives of its records: of a window, and of one that is too short."""
    records = [record(step, step, end=step == 8, sequence="a") for step in range(9)]
    records += [record(9 + step, step, end=step == 1, sequence="b") for step in range(2)]
    result = WindowEngine(model_of(path).task, stream_rules(), WINDOW, MemoryTable().recovered()).run(records)
    return audit_of(path, records, Scope(committed=ALL)), read_outputs(result.outputs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("odds", {"still": 0.25, "walk": 0.25, "run": 0.25, "fall": 0.25}),
        ("odds", None),
        ("activity", None),
        ("activity", "swim"),
        ("peak", None),
        ("peak", 99),
        ("apart", 77.0),
        ("alarm", None),
        ("start", 1),
        ("length", 3),
        ("step", 2),
        ("model", "0123456789ab"),
        ("reason", "too_short"),
    ],
)
def test_a_window_s_output_that_was_altered_is_found(path: Path, name: str, value: Any) -> None:
    audit, outputs = whole(path)
    first = outputs[0]
    assert differences(audit, first) == {}

    altered = Published(first.partition, first.key, first.fields | {name: value}, first.source_offset)

    assert list(differences(audit, altered)) == [name]


def test_every_number_of_a_window_that_is_too_short_is_null(path: Path) -> None:
    audit, outputs = whole(path)
    last = outputs[-1]
    assert (last.fields["reason"], differences(audit, last)) == ("too_short", {})

    for name, value in (("peak", 0), ("apart", 1.0), ("alarm", True), ("activity", "run")):
        altered = Published(last.partition, last.key, last.fields | {name: value}, last.source_offset)
        assert differences(audit, altered) == {name: np.inf}
