"""The figures of anomaly scores, against obvious versions of their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.judging.metrics import auc_pr, delays, false_alarms_per_day, false_share, figures, range_recall
from core.judging.volume import vus_pr

scores_and_truth = st.lists(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 6).map(float), st.just(float("nan"))), st.integers(0, 1)),
        min_size=1,
        max_size=25,
    ),
    min_size=1,
    max_size=3,
)


def apart(drawn):
    scores = [np.array([score for score, _ in one]) for one in drawn]
    return scores, [np.array([truth for _, truth in one]) for one in drawn]


def events_of(truth):
    """Begin and last sample of each event, sample by sample."""
    found = []
    for place, marked in enumerate(truth):
        if marked and place and truth[place - 1]:
            found[-1] = (found[-1][0], place)
        elif marked:
            found.append((place, place))
    return found


def slow_labels(truth, length):
    labels = [float(marked) for marked in truth]
    for begin, last in events_of(truth):
        for place in range(max(begin - length // 2, 0), min(last + length // 2 + 1, len(truth))):
            away = max(begin - place, place - last, 0)
            if away:
                labels[place] = max(labels[place], (1 - away / length) ** 0.5)
    return labels


def slow_area(scores, truth, length):
    """The area under precision and recall, threshold after threshold, from the definition."""
    scores = [[-np.inf if np.isnan(score) else score for score in one] for one in scores]
    labels = [slow_labels(one, length) for one in truth]
    true, all_labels = sum(map(sum, truth)), sum(map(sum, labels))
    area, recall_before = 0.0, 0.0
    for threshold in sorted({score for one in scores for score in one}, reverse=True):
        hits = alarms = found = events = 0
        for one, marks, own in zip(scores, truth, labels, strict=True):
            on = [score >= threshold for score in one]
            alarms += sum(on)
            hits += sum(label for label, alarm in zip(own, on, strict=True) if alarm)
            for begin, last in events_of(marks):
                events += 1
                found += any(on[max(begin - length // 2, 0) : last + length // 2 + 1])
        recall = min(hits / ((true + all_labels) / 2), 1) * found / events
        area += (recall - recall_before) * hits / alarms
        recall_before = recall
    return area


def has_both(truth):
    return 0 < sum(map(sum, truth)) < sum(map(len, truth))


@given(scores_and_truth, st.integers(0, 12))
def test_the_volume_is_the_mean_of_the_areas_of_the_definition(drawn, buffer):
    scores, truth = apart(drawn)
    found = vus_pr(scores, truth, buffer)

    if not has_both(truth):
        assert found is None
    else:
        assert found == pytest.approx(np.mean([slow_area(scores, truth, length) for length in range(buffer + 1)]))


@given(scores_and_truth)
def test_average_precision_is_that_of_all_samples_together(drawn):
    scores, truth = apart(drawn)
    flat = np.nan_to_num(np.concatenate(scores), nan=-1.0)

    assert auc_pr(scores, truth) == auc_pr([flat], [np.concatenate(truth)])
    assert (auc_pr(scores, truth) is not None) == has_both(truth)


def slow_states(scores, threshold, clear):
    """Whether each sample is under alarm, one after the other; and the alarm's number."""
    found, on, number = [], False, -1
    for score in scores:
        if not np.isnan(score):
            began = not on and score >= threshold
            number += began
            on = began or (on and score >= clear)
        found.append(number if on else None)
    return found


@given(scores_and_truth, st.integers(0, 6), st.integers(0, 3))
def test_recall_delay_and_false_alarms_are_those_of_one_sample_after_the_other(drawn, threshold, below):
    scores, truth = apart(drawn)
    clear = max(threshold - below, 0)
    recalls, waits, wrong, normal, under = [], [], 0, 0, 0
    for one, marks in zip(scores, truth, strict=True):
        states = slow_states(one, threshold, clear)
        for begin, last in events_of(marks):
            inside = [state is not None for state in states[begin : last + 1]]
            recalls.append(0.5 * any(inside) + 0.5 * np.mean(inside))
            waits.append(inside.index(True) if any(inside) else np.nan)
        alarms = {state for state in states if state is not None}
        wrong += len(alarms - {state for state, mark in zip(states, marks, strict=True) if mark})
        normal += sum(mark == 0 for mark in marks)
        under += sum(mark == 0 and state is not None for state, mark in zip(states, marks, strict=True))

    assert range_recall(scores, truth, threshold, clear) == (pytest.approx(np.mean(recalls)) if recalls else None)
    np.testing.assert_array_equal(delays(scores, truth, threshold, clear), waits)
    per_day = false_alarms_per_day(scores, truth, 3600.0, threshold, clear)
    assert per_day == (pytest.approx(wrong / normal * 24) if normal else None)
    assert false_share(scores, truth, threshold, clear) == (pytest.approx(under / normal) if normal else None)


def test_a_detector_that_is_right_has_a_volume_near_one_and_a_wrong_one_near_none():
    truth = np.zeros(5000, int)
    truth[1000:1100] = truth[3000:3050] = 1
    noise = np.random.default_rng(0).random(5000)

    assert vus_pr([truth + 0.01 * noise], [truth]) > 0.75
    assert vus_pr([noise], [truth]) < 0.1
    assert vus_pr([-truth + 0.01 * noise], [truth]) < 0.05


def test_an_alarm_a_little_late_costs_the_volume_less_than_the_precision_of_samples():
    truth = np.zeros(5000, int)
    truth[1000:1100] = 1
    late = np.roll(truth, 60).astype(float)

    assert vus_pr([late], [truth], 100) > 1.2 * auc_pr([late], [truth])


def test_a_million_samples_are_judged_at_once():
    rng = np.random.default_rng(0)
    truth = np.zeros(1_000_000, int)
    for begin in rng.integers(0, 990_000, 60):
        truth[begin : begin + rng.integers(20, 2000)] = 1
    found = figures([rng.standard_normal(1_000_000) + 2.0 * truth], [truth], 1.0, 3.0, 1.0)

    assert 0.2 < found.vus_pr < 1.0
    assert found.found == found.events > 40
    assert found.delay_s < 30
    assert found.false_alarms_per_day > 10


def test_scores_of_other_lengths_than_the_truth_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        auc_pr([np.zeros(3)], [np.zeros(4)])
