"""When samples are due, on a clock that is moved by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StartupError
from replay.pacing import Pacer, parse_speed


@pytest.mark.parametrize(
    ("text", "speed"), [("1", 1.0), ("10", 10.0), ("0.5", 0.5), ("max", math.inf), ("MAX", math.inf)]
)
def test_a_speed_is_a_factor_or_max(text, speed):
    assert speed == parse_speed(text)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", ""])
def test_a_wrong_speed_is_named_with_what_is_accepted(text):
    with pytest.raises(StartupError, match="must be a number above 0, or max"):
        parse_speed(text)


def test_the_first_step_is_due_at_the_start_and_not_before():
    pacer = Pacer(start_s=100.0, step_s=0.001)

    assert [pacer.due(99.9), pacer.due(100.0)] == [0, 1]
    assert pacer.late_s(0, 99.0) == -1.0


def test_without_a_pace_everything_is_due():
    pacer = Pacer(start_s=100.0, step_s=0.0)

    assert (pacer.due(0.0), pacer.late_s(7, 0.0)) == (math.inf, 0.0)


@given(
    start_s=st.floats(0, 1e6),
    step_s=st.sampled_from([0.0001, 0.001, 0.02, 1.0]),
    step=st.integers(0, 1_000_000),
)
def test_a_step_is_due_when_its_wait_is_over(start_s, step_s, step):
    pacer = Pacer(start_s, step_s)

    now_s = start_s - pacer.late_s(step, start_s)

    assert pacer.due(now_s) in (step + 1, step + 2)  # one more at most: the clock's last bits


def test_whoever_was_held_up_finds_all_the_steps_that_he_missed():
    pacer = Pacer(start_s=0.0, step_s=0.001)

    assert pacer.due(2.5) == 2501
    assert pacer.late_s(1000, 2.5) == 1.5
