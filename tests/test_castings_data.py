"""Generated casts: the layout, the defects' rules, and a best possible AUC that is known and below 1."""

import h5py
import numpy as np
import pytest

from core.data import castings
from core.data.castings import (
    HIGHEST,
    LEVEL,
    LIMITS,
    LOWEST,
    NOMINAL,
    SPEED,
    SUPERHEAT,
    TEMPERATURE,
    defect_probability,
    draw_cast,
    draw_lengths,
    generate_castings,
    severities,
)
from core.errors import StartupError
from core.training.metrics import auc_roc
from core.wire.records import SENSORS


@pytest.fixture(scope="module")
def casts():
    return [draw_cast(11, row, int(length)) for row, length in enumerate(draw_lengths(11, 2000))]


def calm(steps=300):
    return np.tile(NOMINAL, (steps, 1))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path):
    first, second, other = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    generate_castings(first, casts=20, seed=3)
    generate_castings(second, casts=20, seed=3)
    generate_castings(other, casts=20, seed=4)

    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != other.read_bytes()


def test_casts_lie_back_to_back_and_neither_size_nor_blocks_change_one(tmp_path, monkeypatch):
    monkeypatch.setattr(castings, "BLOCK", 3)
    path = tmp_path / "castings.h5"
    done = []
    generate_castings(path, casts=8, seed=3, on_progress=done.append)
    lengths = draw_lengths(3, 50)[:8]

    with h5py.File(path) as file:
        np.testing.assert_array_equal(lengths, file["cast_length"])
        np.testing.assert_array_equal(np.cumsum(lengths) - lengths, file["cast_start"])
        readings = np.stack([file[name][:] for name in SENSORS], axis=1)
        types = [file[name].dtype.str for name in ("cast_start", "cast_length", "label", "defect_probability")]
        labels, probabilities = file["label"][:], file["defect_probability"][:]
        triggers = file["trigger"].asstr()[:]
    drawn = [draw_cast(3, row, int(length)) for row, length in enumerate(lengths)]
    np.testing.assert_array_equal(np.concatenate([cast.readings for cast in drawn]), readings)
    assert [cast.label for cast in drawn] == labels.tolist()
    assert [cast.trigger for cast in drawn] == triggers.tolist()
    np.testing.assert_allclose([cast.defect_probability for cast in drawn], probabilities, rtol=1e-6)
    assert types == ["<i8", "<i4", "|i1", "<f4"]
    assert done == [3, 6, 8]


def test_some_casts_are_shorter_than_100_and_some_longer_than_500():
    lengths = draw_lengths(1, 5000)

    assert 0.02 < np.mean(lengths < 100) < 0.06
    assert 0.03 < np.mean(lengths > 500) < 0.07
    assert (lengths.min(), lengths.max()) == (40, 700)


def test_about_15_percent_are_defective_and_the_label_follows_the_probability(casts):
    labels = np.array([cast.label for cast in casts])
    probabilities = np.array([cast.defect_probability for cast in casts])

    assert 0.12 < labels.mean() < 0.18
    for low, high in ((0.0, 0.02), (0.5, 1.0)):
        chosen = (probabilities >= low) & (probabilities < high)
        assert labels[chosen].mean() == pytest.approx(probabilities[chosen].mean(), abs=0.04)


def test_the_best_possible_auc_is_high_but_below_one(casts):
    limit = auc_roc(np.array([c.defect_probability for c in casts]), np.array([c.label for c in casts]))

    assert limit is not None
    assert 0.94 < limit < 0.985


def test_triggers_name_every_cause_alone_and_together(casts):
    triggers = {cast.trigger for cast in casts}

    assert {"none", "mold_level", "mold_temperature", "speed_superheat"} < triggers
    assert any("+" in trigger for trigger in triggers)


def test_limits_crossed_without_a_defect_and_defects_without_a_cause_exist(casts):
    assert any(cast.trigger != "none" and cast.label == 0 for cast in casts)
    assert any(cast.trigger == "none" and cast.label == 1 for cast in casts)
    assert any(cast.trigger == "none" and cast.defect_probability > 0.05 for cast in casts)


def test_readings_keep_to_the_instruments_and_vary_around_the_nominal_values(casts):
    readings = np.concatenate([cast.readings for cast in casts])

    assert np.isfinite(readings).all()
    assert (readings >= LOWEST.astype("f4")).all()
    assert (readings <= HIGHEST.astype("f4")).all()
    np.testing.assert_allclose(np.median(readings, axis=0), NOMINAL, rtol=0.02)


def test_values_are_held_over_where_some_were_missing(casts):
    held = np.mean(np.concatenate([np.diff(cast.readings[:, LEVEL]) == 0 for cast in casts]))

    assert 0.01 < held < 0.05


@pytest.mark.parametrize(("seconds", "crossed"), [(29, False), (30, True)])
def test_the_level_is_judged_by_its_longest_stay_outside_the_band(seconds, crossed):
    process = calm()
    process[50 : 50 + seconds, LEVEL] = 172.0
    process[200:210, LEVEL] = 128.0

    assert [seconds, 0.0, 0.0] == severities(process).tolist()
    assert crossed == (severities(process)[0] >= LIMITS[0])


def test_a_temperature_drop_counts_within_a_minute_only():
    sudden, slow = calm(), calm()
    sudden[:100, TEMPERATURE], sudden[100:, TEMPERATURE] = 1560.0, 1505.0
    slow[:, TEMPERATURE] = np.linspace(1570, 1500, 300)

    assert severities(sudden)[1] == 55.0
    assert severities(slow)[1] == pytest.approx(70 * 60 / 299)


def test_high_speed_and_low_superheat_count_together_only():
    process = calm()
    process[50:150, SPEED] = 1.6
    process[100:200, SUPERHEAT] = 17.0

    assert severities(process).tolist() == [0.0, 0.0, 50.0]


def test_the_defect_probability_rises_with_each_severity():
    nothing = defect_probability(np.zeros(3))

    assert 0.005 < nothing < 0.02
    for cause in range(3):
        steps = [defect_probability(np.eye(3)[cause] * LIMITS * factor) for factor in (0.8, 1.0, 1.5)]
        assert nothing < steps[0] < steps[1] < steps[2] < 1.0


@pytest.mark.parametrize(("wrong", "message"), [({"casts": 0}, "casts is 0"), ({"seed": -1}, "seed is -1")])
def test_wrong_arguments_are_refused_before_a_file_is_made(tmp_path, wrong, message):
    with pytest.raises(StartupError, match=message):
        generate_castings(tmp_path / "castings.h5", **({"casts": 2, "seed": 0} | wrong))
    assert list(tmp_path.iterdir()) == []
