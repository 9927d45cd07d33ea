"""How far one group goes: what is read off the events of light members, and the model's arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import scale_members
from aiokafka.structs import TopicPartition
from render import BLOCK, fill
from scale_crowd import is_whole, owners_of, rebalance_of
from scale_light import METADATA
from scale_model import METADATA_LIMIT, Model, between, blocks_of, line, model_of, slope

from tests.fakes import SOURCE, FakeBroker, FakeWorker

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCALE, LATEST = (json.loads((RESULTS / name).read_text()) for name in ("scale.json", "latest.json"))

MODEL = Model(
    broker_s=0.01,
    stop_s=1.0,
    ready_s=3.0,
    record=(1000.0, 500.0),
    commit_bytes=200.0,
    requests=[(0.0, 10.0), (100.0, 110.0)],
    fetches=8.0,
    cores=[(0.0, 0.0), (1000.0, 0.5)],
    broker_cores=[(0.0, 0.0), (1000.0, 0.25)],
    full=(200_000.0, 0.8, 0.4),
    sample_bytes={"source": 150.0, "output": 150.0},
    state_bytes=1000.0,
    states_per_s=200_000.0,
)


def event(at: float, kind: str, member: int, *partitions: int, generation: int = 1) -> dict[str, Any]:
    """What a light member tells."""
    more = {"generation": generation, "partitions": list(partitions)} if kind == "assigned" else {}
    return {"at": at, "event": kind, "member": member, **more}


FORMED = [event(1.0, "assigned", 0, 0, 1), event(1.1, "assigned", 1, 2, 3), event(1.2, "assigned", 2, 4, 5)]
LEFT = [
    event(10.0, "revoked", 2),
    event(10.1, "left", 2),
    event(10.3, "revoked", 0),
    event(10.4, "revoked", 1),
    event(10.7, "assigned", 0, 0, 1, 4, generation=2),
    event(10.6, "assigned", 1, 2, 3, 5, generation=2),
]


def test_a_pause_lasts_from_giving_up_to_getting_back_and_a_change_from_the_command_to_the_last_assignment() -> None:
    found = rebalance_of(FORMED + LEFT, 9.9, {0, 1}, owners_of(FORMED))

    assert found.total_s == pytest.approx(0.8)
    assert found.longest_pause_s == pytest.approx(0.4)
    assert found.pause_s == pytest.approx(0.3)
    assert (found.generations, found.moved) == (1, 2)


def test_a_member_that_gave_up_twice_was_without_partitions_since_the_first_time() -> None:
    twice = [*FORMED, event(10.0, "revoked", 0), event(11.0, "assigned", 0, 0, generation=2)]
    twice += [event(11.5, "revoked", 0), event(12.0, "assigned", 0, 0, 1, generation=3)]

    found = rebalance_of(twice, 9.0, {0}, {})

    assert found.longest_pause_s == pytest.approx(2.0)
    assert found.generations == 2


@pytest.mark.parametrize(
    ("events", "members", "whole"),
    [
        (FORMED, {0, 1, 2}, True),
        (FORMED[:2], {0, 1, 2}, False),
        (FORMED + LEFT[:3], {0, 1, 2}, False),
        (FORMED + LEFT, {0, 1}, True),
        (FORMED + LEFT[:5], {0, 1}, False),
    ],
)
def test_a_group_is_whole_when_all_have_their_share_of_one_generation(
    events: list[Any], members: set[int], whole: bool
) -> None:
    assert is_whole(sorted(events, key=lambda each: each["at"]), members, 6) is whole


def test_a_value_between_two_measured_points_lies_on_the_line_and_outside_it_is_the_nearest_one_s() -> None:
    points = [(0.0, 10.0), (100.0, 110.0), (1000.0, 200.0)]

    assert [between(points, x) for x in (-5.0, 0.0, 50.0, 100.0, 550.0, 5000.0)] == [
        10.0,
        10.0,
        60.0,
        110.0,
        155.0,
        200,
    ]


def test_lines_are_fitted() -> None:
    assert line([(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)]) == pytest.approx((1.0, 2.0))
    assert slope([(1.0, 2.0), (3.0, 6.0)]) == pytest.approx(2.0)


def test_every_worker_of_a_rolling_restart_stops_all_streams_twice() -> None:
    assert MODEL.pause_s(100) == pytest.approx(1.3)
    assert MODEL.still_s(100) == pytest.approx(2 * 100 * 1.3)
    assert MODEL.rolling_s(100) == pytest.approx(100 * (1.0 + 3.0 + 1.3))


def test_a_stream_s_state_goes_out_once_in_a_commit_at_most() -> None:
    assert MODEL.states_written(1000, hz=1.0) == 1000
    assert MODEL.states_written(1000, hz=50.0) == 2000
    assert MODEL.recovery_s(1_000_000, hz=0.0, heirs=5) == pytest.approx(1.0)


def test_few_full_workers_take_fewer_cores_than_many_that_have_little_to_do() -> None:
    few = MODEL.workers_for(1_000_000.0)

    assert few == 5
    assert MODEL.cores_of(few, 1_000_000.0)[0] == pytest.approx(4.0)
    assert MODEL.cores_of(1000, 1_000_000.0)[0] == pytest.approx(500.0)


def test_each_broker_is_asked_by_each_worker_that_has_partitions_there() -> None:
    assert MODEL.group_requests(100, 0.0) == pytest.approx(100 * (10 + 2 * 8))
    assert MODEL.group_requests(1000, 0.0) == pytest.approx(1000 * 10)  # with one partition each there is one broker


async def test_light_members_commit_what_a_worker_commits_and_it_grows_with_nothing() -> None:
    worker = FakeWorker(FakeBroker())
    (found,) = worker.committer._with_metadata({TopicPartition(SOURCE, 0): 5}, {}).values()
    theirs, ours = json.loads(found.metadata), json.loads(METADATA)

    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() == {"outputs", "dead_letters"}
    longest = {name: 2**63 if isinstance(value, int) else value for name, value in ours.items()}
    assert len(json.dumps(longest)) < METADATA_LIMIT / 10


def test_the_page_has_every_table_and_those_of_groups_are_the_stored_ones() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    blocks = blocks_of(SCALE, LATEST)

    assert {name for _, name, _ in BLOCK.findall(page)} == blocks.keys()
    assert fill(fill(page, blocks), blocks) == fill(page, blocks)
    for name in ("scale_members", "scale_assignor", "scale_requests"):
        assert blocks[name]() in page


def test_the_stored_results_have_all_parts_and_lost_nothing() -> None:
    assert SCALE.keys() >= scale_members.PARTS.keys()
    assert SCALE["failures"] == []
    assert model_of(SCALE, LATEST).broker_s > 0


def test_what_is_not_measured_again_stays_stored(tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    scale_members.store({"worker": [1], "members": [{"members": 10, "a": 1}, {"members": 50, "a": 1}]}, path)
    scale_members.store({"members": [{"members": 25, "a": 2}, {"members": 50, "a": 2}], "failures": []}, path)

    found = json.loads(path.read_text())

    assert found["worker"] == [1]
    assert [(one["members"], one["a"]) for one in found["members"]] == [(10, 1), (25, 2), (50, 2)]
