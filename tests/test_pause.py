"""The pause before a fetch: what came meanwhile is taken together, and full load does not notice it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.pause import Pause, pause_after
from tests.strategies import relaxed

FULL = 4_000
DELAY = 0.008
SHORT = DELAY / 100
"""Since the answer before: records come often."""
records = st.integers(1, 3 * FULL)
passed = st.floats(0, 10)
delays = st.floats(0, 1)


@pytest.mark.parametrize(
    ("taken", "behind", "expected"),
    [
        (1, False, DELAY * (1 - 1 / FULL)),
        (FULL // 2, False, DELAY / 2),
        (FULL, False, 0.0),
        (FULL + 1, False, 0.0),
        (1, True, 0.0),
        (0, False, 0.0),
    ],
)
def test_the_pause_shrinks_as_a_chunk_grows_and_is_none_where_the_log_holds_more(
    taken: int, behind: bool, expected: float
) -> None:
    assert pause_after(taken, FULL, behind, DELAY, SHORT) == pytest.approx(expected)


@relaxed
@given(records, st.booleans(), delays, passed)
def test_no_record_waits_for_longer_than_the_setting_says_and_never_with_zero(
    taken: int, behind: bool, delay: float, since: float
) -> None:
    assert 0 <= pause_after(taken, FULL, behind, delay, since) <= delay
    assert pause_after(taken, FULL, behind, 0.0, since) == 0


@pytest.mark.parametrize(
    ("per_s", "waits"), [(10, False), (100, False), (0.99 / DELAY, False), (1.01 / DELAY, True), (1_000, True)]
)
def test_only_where_another_record_is_likely_to_come_it_is_waited_for(per_s: float, waits: bool) -> None:
    """Records that come one by one, at a steady rate."""
    pause, now = Pause(DELAY, FULL), 100.0
    for _ in range(20):
        pause.began()
        pause.answered(now, 1, behind=False)
        now += 1 / per_s

    assert (pause.due > now - 1 / per_s) is waits


@relaxed
@given(st.floats(130, 100_000), st.integers(1, 500))
def test_a_steady_flow_gathers_from_the_first_answers_on(per_s: float, first: int) -> None:
    """A pause brings as many records as came in it, and is followed by another."""
    pause, now, taken, pauses = Pause(DELAY, FULL), 100.0, first, []
    for _ in range(10):
        pause.began()
        pause.answered(now, taken, behind=False)
        pauses.append(pause.due - now)
        passed = max(pause.due - now, 1 / per_s) + 0.0001
        now, taken = now + passed, max(1, int(passed * per_s))

    assert sum(each > 0 for each in pauses) >= 5


def test_the_first_record_after_a_while_and_those_right_behind_it_go_in_two_turns() -> None:
    pause = Pause(DELAY, FULL)
    pause.began()
    pause.answered(10.0, 1, behind=False)
    assert pause.due == 10.0
    pause.began()
    pause.answered(10.002, 5, behind=False)
    assert pause.due == pytest.approx(10.002 + DELAY, rel=1e-6)


def flowing(now: float) -> Pause:
    """One to which records came right before."""
    pause = Pause(DELAY, FULL)
    pause.answered(now - SHORT, 1, behind=False)
    return pause


def test_before_the_first_answer_nothing_is_waited_for() -> None:
    assert Pause(DELAY, FULL).due == -math.inf


def test_answers_of_several_brokers_share_the_pause_of_the_first() -> None:
    """Otherwise a record that came right after the first answer would wait for twice as long."""
    pause = flowing(10.0)
    pause.began()
    pause.answered(10.0, 1, behind=False)
    due = pause.due
    pause.answered(10.005, 1, behind=False)

    assert pause.due == due == pytest.approx(10.0 + DELAY, abs=1e-5)


def test_an_answer_that_leaves_records_in_the_log_ends_the_pause_of_another() -> None:
    pause = flowing(10.0)
    pause.began()
    pause.answered(10.0, 1, behind=False)
    pause.answered(10.002, 1, behind=True)

    assert pause.due == 10.002


def test_the_rest_of_a_fetch_is_followed_by_no_pause() -> None:
    """A fetch may bring several chunks, of which the last is small."""
    pause = Pause(DELAY, FULL)
    pause.began()
    pause.answered(10.0, FULL, behind=True)
    pause.answered(10.02, 7, behind=False)

    assert pause.due == 10.0


@relaxed
@given(st.lists(st.tuples(st.floats(0, 0.05), records, st.booleans()), min_size=1, max_size=30), delays)
def test_the_next_fetch_begins_at_the_earliest_time_that_an_answer_since_the_last_has_asked_for(
    answers: list[tuple[float, int, bool]], delay: float
) -> None:
    pause, now, asked = Pause(delay, FULL), 100.0, []
    last = -math.inf
    for number, (passed, taken, behind) in enumerate(answers):
        if number % 3 == 0:
            pause.began()
            asked = []
        now += passed
        pause.answered(now, taken, behind)
        asked.append(now + pause_after(taken, FULL, behind, delay, now - last))
        last = now

        assert pause.due == min(asked)
