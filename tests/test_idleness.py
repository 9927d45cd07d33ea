"""What is idle by a clock that only goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_app.flow.idleness import GRACE_S, NOTES, PastPositions


def test_a_partition_that_was_just_taken_up_has_nothing_idle() -> None:
    past = PastPositions(idle_s=10)
    assert past.idle_before(0, 1e6) == 0

    past.note(0, 500, 1e6)

    assert past.idle_before(0, 1e6 + 10 + GRACE_S - 0.1) == 0
    assert past.idle_before(0, 1e6 + 10 + GRACE_S) == 500


def test_partitions_go_their_own_ways_and_begin_anew() -> None:
    past = PastPositions(idle_s=10)
    past.note(0, 5, 0)
    past.note(1, 7, 0)

    past.drop(0)

    assert [past.idle_before(partition, 100) for partition in (0, 1)] == [0, 7]


@given(
    idle_s=st.floats(0.1, 1e5),
    looks=st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 1000)), min_size=1, max_size=300),
)
def test_what_is_idle_has_been_there_for_long_enough_and_is_found_soon(
    idle_s: float, looks: list[tuple[float, int]]
) -> None:
    past, age_s = PastPositions(idle_s), idle_s + GRACE_S
    space_s = age_s / NOTES
    now_s, position, notes = 0.0, 0, []
    for passed, records in looks:
        now_s, position = now_s + passed * space_s, position + records
        past.note(0, position, now_s)
        notes.append((now_s, position))
        found = past.idle_before(0, now_s)

        # Never what came later than that; and all that came before it, but for the space between notes.
        assert found <= max((at for at_s, at in notes if now_s - at_s >= age_s), default=0)
        assert found >= max((at for at_s, at in notes if now_s - at_s >= age_s + 2 * space_s), default=0)
    assert len(past._notes[0]) <= NOTES + 2
