"""Data sets with anomalies for the benchmark: what is injected, how flaws are found, what stands in the table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomaly_flaws import best_one_liner, like_normal, mean_place
from anomaly_sets import HISTORY, PERIOD_S, SETS, AnomalySet
from bench_anomalies import quiet_pumps, table, task_text, write_recording
from hypothesis import given, settings
from hypothesis import strategies as st
from injected_faults import FEWEST, inject

from core.data.pump.file import draw_pump
from core.data.task_file import TaskFile
from core.judging.alarms import runs_of
from core.tasks.reading import declare
from core.tasks.toml_file import parse_tables

NEEDED = {
    "pump": "h5py",
    "water-flow": "river",
    "internal-bleeding": "aeon",
    "daphnet": "aeon",
    "co2": "statsmodels",
    "sea-surface": "statsmodels",
}


def toy(anomaly: np.ndarray, truth: np.ndarray, history: np.ndarray) -> AnomalySet:
    return AnomalySet("toy", ("x",), 1.0, [history[:, None]], [anomaly[:, None]], [truth.astype(np.int8)], "label", [])


def waves(samples: int, seed: int = 0) -> np.ndarray:
    return np.sin(np.arange(samples) / 5) + 0.05 * np.random.default_rng(seed).standard_normal(samples)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(250, 3000), fields=st.integers(1, 4))
def test_injected_faults_change_the_samples_of_the_truth_alone(seed: int, samples: int, fields: int) -> None:
    values = np.random.default_rng(seed).standard_normal((samples, fields))

    changed, truth = inject(values, seed)
    begins, _ = runs_of(truth == 1)

    np.testing.assert_array_equal(changed[truth == 0], values[truth == 0])
    assert len(begins) >= FEWEST
    assert all((changed[begin:] != values[begin:]).any(axis=1)[0] for begin in begins)
    assert 0.005 < truth.mean() < 0.35


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_a_normal_history_and_a_test_whose_truth_fits_it(name: str) -> None:
    if importlib.util.find_spec(NEEDED[name]) is None:
        pytest.skip(f"needs the package {NEEDED[name]}")
    data = SETS[name](3) if name != "pump" else SETS[name](3, pumps=1, history=1000, test=20_000)  # type: ignore[call-arg]

    assert data.name == name
    for one, truth in zip(data.test, data.truth, strict=True):
        assert one.shape == (len(truth), len(data.fields))
    assert any(truth.any() for truth in data.truth)
    assert all(np.isfinite(one).all() and one.shape[1] == len(data.fields) for one in (*data.history, *data.test))
    assert sum(map(len, data.history)) > 200


def test_a_line_of_code_finds_a_trivial_anomaly_and_not_a_hidden_one() -> None:
    truth = np.zeros(400, bool)
    truth[200:220] = True
    trivial, hidden = waves(400, 1), waves(400, 1)
    trivial[truth] += 50
    hidden[truth] = np.sin(np.arange(200, 220) / 5 + 1.0)

    assert best_one_liner(toy(trivial, truth, waves(400)))[1] > 0.9
    assert best_one_liner(toy(hidden, truth, waves(400)))[1] < 0.5


def test_events_at_the_end_are_late_and_others_in_the_middle() -> None:
    late, middle = np.zeros(400, bool), np.zeros(400, bool)
    late[390:] = middle[190:210] = True

    assert mean_place(toy(waves(400), late, waves(400))) > 0.95
    assert mean_place(toy(waves(400), middle, waves(400))) == 0.5


def test_a_mark_on_normal_samples_looks_normal_and_one_on_an_anomaly_does_not() -> None:
    wrong, right = np.zeros(800, bool), np.zeros(800, bool)
    wrong[100:102] = right[400:420] = True
    values = waves(800, 2)
    values[right] += 5
    smooth = values.copy()
    smooth[60:140] = np.sin(np.arange(60, 140) / 5)  # without noise: nearer to what is known than others

    known = np.sin(np.arange(2000) / 5)
    assert like_normal(toy(smooth, wrong, known)) == 1.0
    assert like_normal(toy(values, right, known)) == 0.0


def test_a_set_is_written_as_a_file_of_its_task(tmp_path: Path) -> None:
    data = toy(waves(300), np.zeros(300), waves(50))
    path = tmp_path / "toy.toml"
    task = declare(path, parse_tables(path, task_text(data).partition("[train]")[0].encode() + MODEL), need_files=False)

    write_recording(tmp_path / "toy.h5", data, [data.test[0], data.history[0]])

    with TaskFile(tmp_path / "toy.h5", task) as file:
        assert [(one.start, one.count) for one in file.sequences] == [(0, 300), (300, 50)]
        np.testing.assert_allclose(file.values(300, 50)[:, 0], data.history[0][:, 0], rtol=1e-6)


MODEL = b'[model]\nfile = "toy.onnx"\n\n[outputs]\ny = {}\n'


def part(name: str, seed: int, ours: float, alarms: float | None, weeks: float = 10.0) -> dict[str, Any]:
    areas, rates = {"caststream": ours, "persistence": 0.25}, {"caststream": alarms, "persistence": 3.0}
    return json.loads(
        json.dumps(
            {
                "set": name,
                "seed": seed,
                "vus_pr": areas,
                "auc_pr": {**areas, "persistence": 0.9},
                "false_alarms_per_week": rates,
                "weeks": weeks,
            }
        )
    )


def test_the_table_has_mean_and_spread_over_the_seeds() -> None:
    parts = [part("a", 0, 0.5, 1.0), part("a", 1, 0.7, None), part("b", 0, 0.2, 900.0, weeks=0.01)]

    areas, precisions, alarms = "\n".join(table([*parts, part("c", 0, 0.25, 1.0)])).split("\n\n")

    assert areas.splitlines() == [
        "| VUS-PR | seeds | caststream | persistence | beside the best baseline |",
        "| --- | --- | --- | --- | --- |",
        "| a | 2 | 0.600 ± 0.100 | 0.250 ± 0.000 | ahead of persistence |",
        "| b | 1 | 0.200 ± 0.000 | 0.250 ± 0.000 | behind persistence |",
        "| c | 1 | 0.250 ± 0.000 | 0.250 ± 0.000 | equal (persistence) |",
    ]
    assert precisions.splitlines()[0].startswith("| AUC-PR | seeds |")
    assert precisions.splitlines()[2] == "| a | 2 | 0.600 ± 0.100 | 0.900 ± 0.000 | behind persistence |"
    assert alarms.splitlines()[2] == "| a | 1 | 1.000 ± 0.000 | 3.000 ± 0.000 |"
    assert not any(line.startswith("| b") for line in alarms.splitlines())


def test_quiet_pumps_go_on_where_their_history_ended() -> None:
    quiet, later = quiet_pumps(0, 0.02)

    assert [one.shape for one in (*quiet, *later)] == [(101, 12)] * 24
    begin = draw_pump(0, 0, HISTORY + 10, PERIOD_S, faults=False).readings[HISTORY:]
    np.testing.assert_array_equal(quiet[0][:10], begin)
