"""The threshold for a wish, against simulated scores whose future is known, and the alarms that it counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StartupError
from core.judging.alarms import Known, find_alarms
from core.judging.tail import fit_pareto, level_of
from core.judging.threshold import choose, needed_hours, poisson_range, rate_curve
from core.wish import wish_per_week

PERIOD_S = 300.0
WEEK = 2016  # samples
numbers = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")))


def slow_alarms(scores, threshold, clear):
    """The alarms as the worker makes them: one score after the other."""
    found, begin, peak = [], None, 0.0
    for place, score in enumerate(scores):
        if np.isnan(score):
            continue
        if begin is None and score >= threshold:
            begin, peak = place, score
        elif begin is not None and score < clear:
            found.append((begin, place, peak))
            begin = None
        if begin is not None:
            peak = max(peak, score)
    return found if begin is None else [*found, (begin, len(scores), peak)]


@given(st.lists(numbers, max_size=40), st.integers(0, 5), st.integers(0, 5))
def test_alarms_are_those_of_one_score_after_the_other(scores, threshold, below):
    clear = max(threshold - below, 0)
    found = find_alarms(np.array(scores, float), threshold, clear)

    assert list(zip(found.begins, found.ends, found.peaks, strict=True)) == slow_alarms(scores, threshold, clear)


@given(st.lists(st.lists(numbers, max_size=15), max_size=5), st.integers(0, 5), st.integers(0, 5))
def test_alarms_of_many_sequences_are_counted_as_those_of_each(sequences, threshold, below):
    clear = max(threshold - below, 0)
    known = Known.of([np.array(scores, float) for scores in sequences])

    assert known.count(threshold, clear) == sum(len(slow_alarms(one, threshold, clear)) for one in sequences)


def autoregressive(rng, samples, memory, law):
    shocks = rng.standard_t(3, samples + 500) if law == "heavy" else rng.standard_normal(samples + 500)
    # x_t = memory x_{t-1} + shock, as a sum over the last shocks.
    kernel = memory ** np.arange(1 if memory == 0 else int(np.log(1e-6) / np.log(memory)))
    size = 1 << int(samples + 500 + len(kernel)).bit_length()
    made = np.fft.irfft(np.fft.rfft(shocks, size) * np.fft.rfft(kernel, size), size)[500 : samples + 500]
    return np.exp(made * np.sqrt(1 - memory**2)) if law == "skewed" else made


def rates_on_fresh_data(weeks, wish, memory, law, seeds):
    """What each seed's threshold gives in a hundred new weeks, as a share of the wish."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        chosen = choose([autoregressive(rng, int(weeks * WEEK), memory, law)], PERIOD_S, wish)
        fresh = Known.of([autoregressive(rng, 100 * WEEK, memory, law)])
        found.append(fresh.count(chosen.threshold, chosen.clear) / 100 / wish)
    return np.array(found)


@pytest.mark.parametrize("law", ["light", "heavy", "skewed"])
@pytest.mark.parametrize("memory", [0.0, 0.9, 0.99])
def test_ten_weeks_meet_the_wish_of_one_alarm_a_week(memory, law):
    rates = rates_on_fresh_data(10, 1.0, memory, law, 12)  # measured: 5 to 95 % of seeds are in 0.4 to 1.8

    assert np.mean((rates >= 0.3) & (rates <= 3.0)) >= 11 / 12
    assert 0.6 < np.median(rates) < 1.5


@pytest.mark.parametrize("law", ["light", "heavy", "skewed"])
@pytest.mark.parametrize(("weeks", "wish"), [(2, 1.0), (10, 0.25)])  # measured: 0.1 to 3 times the wish
def test_the_tail_goes_on_where_the_data_holds_few_alarms(weeks, wish, law):
    rates = rates_on_fresh_data(weeks, wish, 0.9, law, 12)

    assert np.mean((rates >= 0.1) & (rates <= 4.0)) >= 10 / 12
    assert 0.3 < np.median(rates) < 2.0


def held_out(weeks=2.0, seed=1):
    return autoregressive(np.random.default_rng(seed), int(weeks * WEEK), 0.9, "light")


@given(st.integers(0, 1000), st.sampled_from([0.05, 1.0, 3.0, 40.0]), st.sampled_from([0.02, 0.3, 2.0]))
def test_no_threshold_gives_more_alarms_in_the_data_than_wished(seed, wish, weeks):
    chosen = choose([held_out(weeks, seed)], PERIOD_S, wish)

    assert chosen.events <= max(wish * weeks, 0)
    assert chosen.events == len(find_alarms(held_out(weeks, seed), chosen.threshold, chosen.clear))
    assert chosen.range[0] <= chosen.threshold <= chosen.range[1]
    assert chosen.clear < chosen.threshold


def test_a_rarer_wish_never_lowers_the_threshold():
    found = [choose([held_out(10)], PERIOD_S, wish).threshold for wish in (50, 10, 3, 1, 0.3, 0.1, 0.01)]

    assert found == sorted(found)


def test_scores_that_are_not_there_change_nothing_but_the_hours():
    scores = held_out()
    with_gaps = np.insert(scores, [0, 700, 700, len(scores)], np.nan)

    assert choose([with_gaps], PERIOD_S, 1.0) == choose([scores], PERIOD_S, 1.0)


def test_streams_together_count_as_their_weeks():
    parts = [held_out(5, seed) for seed in range(4)]
    chosen = choose(parts, PERIOD_S, 1.0)

    assert chosen.hours == pytest.approx(20 * 168)
    assert chosen.how == "observed"
    assert 15 <= chosen.events <= 20
    assert chosen.rate_range[0] < 1.0 < chosen.rate_range[1]


def test_a_stream_that_makes_most_alarms_is_named():
    parts = [held_out(5, seed) for seed in range(4)]
    parts[2] = parts[2] * 1.5

    assert "sequence number 3" in " ".join(choose(parts, PERIOD_S, 1.0).doubts)


def test_constant_scores_give_a_threshold_just_above_them():
    chosen = choose([np.full(WEEK, 2.0)], PERIOD_S, 0.5)

    assert chosen.events == 0
    assert 2.0 < chosen.threshold < 2.0 + 1e-9
    assert "nothing is known" in chosen.doubts[0]


def test_a_few_scores_give_a_threshold_above_all_of_them_and_a_doubt():
    chosen = choose([np.arange(10.0)], PERIOD_S, 1.0)

    assert chosen.how == "highest"
    assert chosen.threshold > 9.0
    assert "Hold out 1,680 hours" in chosen.doubts[0]


def test_hours_that_are_short_of_the_wish_are_reported():
    chosen = choose([held_out(2)], PERIOD_S, 0.05)

    assert chosen.how == "tail"
    assert chosen.threshold > held_out(2).max()
    assert any("beyond what was observed. Hold out 33,600 hours" in doubt for doubt in chosen.doubts)
    assert "observed: 0 alarms in 336 hours" in chosen.lines()[1]


@pytest.mark.parametrize("scores", [[], [np.full(5, np.nan)]])
def test_without_a_score_there_is_no_threshold(scores):
    with pytest.raises(StartupError, match="no score"):
        choose(scores, PERIOD_S, 1.0)


def test_the_curve_counts_the_alarms_of_each_threshold():
    scores = held_out()
    thresholds, rates = rate_curve([scores], PERIOD_S, 8)

    assert (np.diff(thresholds) > 0).all()
    for threshold, rate in zip(thresholds, rates, strict=True):
        clear = (threshold + np.median(scores)) / 2
        assert rate * 2 == pytest.approx(len(find_alarms(scores, threshold, clear)))


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_a_fit_finds_the_shape_and_scale_that_made_the_data(shape):
    uniform = np.random.default_rng(0).random(20_000)
    drawn = -2.0 * np.log(uniform) if shape == 0 else 2.0 * (uniform**-shape - 1) / shape

    assert fit_pareto(drawn) == pytest.approx((shape, 2.0), abs=0.05)


def test_a_level_is_exceeded_as_often_as_said():
    peaks = np.sort(np.random.default_rng(0).exponential(size=200_000))[::-1]
    known = np.log(200_000 / 0.5)  # the level that half a peak of so many exceeds, on average

    assert level_of(peaks, 2000, 0.5) == pytest.approx(known, rel=0.15)


@pytest.mark.parametrize("excesses", [np.zeros(30), np.ones(30), np.r_[np.zeros(20), np.ones(10)]])
def test_ties_have_no_fit(excesses):
    assert fit_pareto(excesses) is None


def test_the_range_of_a_count_is_that_of_poisson():
    # Exact (Garwood): 0 gives 3.00, 10 gives 5.43 to 16.96.
    assert poisson_range(0) == pytest.approx((0.0, 3.0), abs=0.05)
    assert poisson_range(10) == pytest.approx((5.43, 16.96), abs=0.05)


def test_a_wish_is_read_in_words():
    assert [wish_per_week(text) for text in ("1/week", "2/day", " 0.5 / weeks ", "1/hour")] == [1.0, 14.0, 0.5, 168.0]
    assert wish_per_week("12/year") == pytest.approx(wish_per_week("1/month"))


@pytest.mark.parametrize("text", ["", "1", "week", "0/week", "-1/week", "1/fortnight"])
def test_what_is_no_wish_is_refused(text):
    with pytest.raises(StartupError, match="1/week"):
        wish_per_week(text)


def test_a_wish_for_more_alarms_than_normal_scores_make_keeps_a_threshold_that_means_something() -> None:
    scores = np.random.default_rng(0).standard_normal(100_000)

    chosen = choose([scores], 60.0, 50_000.0)

    assert chosen.threshold == pytest.approx(np.quantile(scores, 0.99))
    assert "allows more alarms" in " ".join(chosen.doubts)


def test_a_wish_needs_so_many_hours_that_ten_alarms_are_in_them() -> None:
    assert needed_hours(1.0) == 1680.0  # ten weeks
    rare = choose([held_out(10)], PERIOD_S, 1.0)

    assert needed_hours(rare.wish_per_week) == pytest.approx(rare.hours)
    assert rare.how == "observed"
    assert not any("Hold out" in doubt for doubt in rare.doubts)
