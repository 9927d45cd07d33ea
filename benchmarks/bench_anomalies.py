"""Anomaly scores of trained forecasters beside simple detectors, on all data sets, several seeds each.

    python benchmarks/bench_anomalies.py                                # all that is not there yet, then the table
    python benchmarks/bench_anomalies.py --sets pump --seeds 0          # one part
    python benchmarks/bench_anomalies.py --table                        # the table of what is there

Each set and seed is a part with a file of its own, benchmarks/results/anomalies/SET-SEED.json, so a run can be stopped
and goes on with what is missing. A part trains a forecaster on the history with `caststream train`, no longer than
`--minutes`, runs it offline with `caststream predict`, fits the simple detectors on the same history, and judges all of
them with VUS-PR. `--weeks 10` makes a long healthy recording of the pump, too, and counts the false alarms in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anomaly_sets import HISTORY, PERIOD_S, PUMPS, SETS, AnomalySet
from numpy.typing import NDArray

from core.data.pump.file import BEGIN_MS, draw_pump
from core.judging.alarms import find_alarms
from core.judging.baselines import Baseline, fit_baselines
from core.judging.metrics import auc_pr
from core.judging.threshold import choose
from core.judging.volume import vus_pr
from core.wire.outputs import NOTHING_YET

RESULTS = Path(__file__).parent / "results" / "anomalies"
OURS, ORACLE, BESIDE = "caststream", "true model", "beside the best baseline"
WEEK_S = 7 * 86400.0
ALARMS = "false_alarms_per_week"
WISH = 1.0
"""False alarms of a stream in a week."""
Values = NDArray[np.float64]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--minutes", type=float, default=3.0, help="the most that one training takes")
    parser.add_argument("--weeks", type=float, default=10.0, help="of a healthy pump, for false alarms; 0: none")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    wanted = parser.parse_args()
    wanted.results.mkdir(parents=True, exist_ok=True)
    for name in [] if wanted.table else wanted.sets:
        for seed in wanted.seeds:
            if not (file := wanted.results / f"{name}-{seed}.json").exists():
                print(f"{name}, seed {seed} ...", file=sys.stderr)
                _write(file, run_part(name, seed, wanted.minutes, wanted.weeks))
    print("\n".join(table([json.loads(file.read_text()) for file in sorted(wanted.results.glob("*-*.json"))])))


def run_part(name: str, seed: int, minutes: float, weeks: float) -> dict[str, Any]:
    """Train, run and judge on one set with one seed."""
    data = SETS[name](seed)
    with tempfile.TemporaryDirectory(prefix="caststream-anomalies-") as folder:
        trained = Trained(data, Path(folder), seed, minutes)
        scores = {OURS: trained.outputs(data.test)["score"]}
        baselines = fit_baselines(data.history, seed=seed)
        scores |= {one.name: [one.score(values) for values in data.test] for one in baselines}
        if data.oracle is not None:
            scores[ORACLE] = data.oracle
        before, healthy = quiet_pumps(seed, weeks) if name == "pump" and weeks else ([], data.healthy)
        alarms = false_alarms(trained, baselines, before, healthy) if healthy else {}
    return {
        "set": name,
        "seed": seed,
        "minutes": trained.minutes,
        "vus_pr": {_plain(each): vus_pr(found, data.truth) for each, found in scores.items()},
        "auc_pr": {_plain(each): auc_pr(found, data.truth) for each, found in scores.items()},
        ALARMS: alarms,
        "weeks": weeks_of(healthy, data.period_s),
    }


def quiet_pumps(seed: int, weeks: float) -> tuple[list[Values], list[Values]]:
    """Healthy weeks of all pumps together, behind the days that they are trained on, and as many that follow."""
    samples = round(weeks * WEEK_S / PERIOD_S / PUMPS)
    drawn = [draw_pump(seed, row, HISTORY + 2 * samples, PERIOD_S, faults=False, scored=False) for row in range(PUMPS)]
    values = [one.readings[HISTORY:].astype(np.float64) for one in drawn]
    return [one[:samples] for one in values], [one[samples:] for one in values]


def false_alarms(
    trained: Trained, baselines: Sequence[Baseline], before: Sequence[Values], healthy: Sequence[Values]
) -> dict[str, float | None]:
    """The alarms of each detector in a week of healthy recordings.

    Thresholds are the training's own, and of the simple detectors what the last fifth of the history asks for. With
    healthy recordings ``before``, ours is told with the threshold that these ask for, too.
    """
    data, outputs = trained.data, trained.outputs(healthy)
    found = {OURS: begins_per_week(outputs["alarm"], data.period_s) if "alarm" in outputs else None}
    for one in baselines:
        held = [one.score(values)[len(values) * 4 // 5 :] for values in data.history]
        found[_plain(one.name)] = rate_of(held, [one.score(values) for values in healthy], data.period_s)
    if before:
        name = f"{OURS}, {weeks_of(before, data.period_s):.3g} weeks held out"
        found[name] = rate_of(trained.outputs(before)["score"], outputs["score"], data.period_s)
    return found


def begins_per_week(alarms: Sequence[Values], period_s: float) -> float:
    """The alarms that begin in a week of recordings, of which each sample says whether it is under alarm."""
    begins = sum(int((np.diff(one > 0, prepend=False) & (one > 0)).sum()) for one in alarms)
    return begins / weeks_of(alarms, period_s)


def rate_of(held: Sequence[Values], judged: Sequence[Values], period_s: float) -> float:
    """The alarms in a week of scores, with the threshold that other scores ask for."""
    chosen = choose([np.where(one <= NOTHING_YET, np.nan, one) for one in held], period_s, WISH)
    found = sum(len(find_alarms(one, chosen.threshold, chosen.clear)) for one in judged)
    return found / weeks_of(judged, period_s)


def weeks_of(sequences: Sequence[Values], period_s: float) -> float:
    """The time that sequences cover together."""
    return sum(map(len, sequences)) * period_s / WEEK_S


class Trained:
    """A forecaster that `caststream train` has made of a set's history, in a folder."""

    def __init__(self, data: AnomalySet, folder: Path, seed: int, minutes: float) -> None:
        self.data, self.folder = data, folder
        self.task = folder / "task.toml"
        self.task.write_text(task_text(data))
        history = folder / "history.h5"
        write_recording(history, data, data.history)
        began = time.monotonic()
        self._run("train", self.task, history, "--max-minutes", minutes, "--seed", seed)
        self.minutes = round((time.monotonic() - began) / 60, 2)

    def outputs(self, sequences: Sequence[Values]) -> dict[str, list[Values]]:
        """Score and alarm of each sample, of each sequence."""
        read, written = self.folder / "test.h5", self.folder / "outputs.h5"
        write_recording(read, self.data, sequences)
        self._run("predict", read, "--task", self.task, "--output", written)
        cuts = np.cumsum([len(one) for one in sequences])[:-1]
        with h5py.File(written) as file:
            names = [name for name in ("score", "alarm") if name in file]  # no alarm where no threshold could be chosen
            return {name: np.split(file[name][:].astype(np.float64), cuts) for name in names}

    def _run(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "stream_app.cli.main", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[2:])} ended with {done.returncode}: {done.stderr[-2000:]}")


def task_text(data: AnomalySet) -> str:
    """The task file of a set."""
    fields = "\n".join(f"{name} = {{}}" for name in data.fields)
    return f'name = "{data.name}"\nkind = "step"\n\n[fields]\n{fields}\n\n[train]\nlearn = "forecast"\n'


def write_recording(path: Path, data: AnomalySet, sequences: Sequence[Values]) -> None:
    """Write sequences as a file of the task."""
    lengths = np.array([len(one) for one in sequences])
    with h5py.File(path, "w") as file:
        for place, name in enumerate(data.fields):
            file[name] = np.concatenate([one[:, place] for one in sequences]).astype(np.float32)
        file["sequence_start"], file["sequence_length"] = np.cumsum(lengths) - lengths, lengths
        times = [BEGIN_MS + np.round(np.arange(count) * data.period_s * 1000).astype(np.int64) for count in lengths]
        file["timestamp_ms"] = np.concatenate(times)


def table(parts: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown tables with mean and spread (standard deviation) over the seeds: VUS-PR, AUC-PR, false alarms a week.

    Ours is "ahead" of a set's best baseline, or "equal" where the difference is within the larger spread of both. A set
    whose healthy recordings are shorter than a week has no rate of false alarms.
    """
    alarms = _by_set([part for part in parts if part["weeks"] >= 1], ALARMS)
    volumes, areas = _by_set(parts, "vus_pr"), _by_set(parts, "auc_pr")
    lines = _rows("VUS-PR", volumes, [*_names(volumes), BESIDE])
    lines += ["", *_rows("AUC-PR", areas, [*_names(areas), BESIDE])]
    return [*lines, "", *_rows("false alarms a week", alarms, _names(alarms))] if alarms else lines


def _by_set(parts: Sequence[dict[str, Any]], key: str) -> dict[str, dict[str, list[float]]]:
    held: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for part in parts:
        for name, value in part[key].items():
            held[part["set"]][name] += [] if value is None else [value]
    return held


def _names(held: dict[str, dict[str, list[float]]]) -> list[str]:
    """The detectors: ours, the true model, then the simple ones."""
    return sorted(
        {name for one in held.values() for name in one}, key=lambda name: (name != OURS, name != ORACLE, name)
    )


def _rows(what: str, held: dict[str, dict[str, list[float]]], names: Sequence[str]) -> list[str]:
    lines = [f"| {what} | seeds | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for name, one in held.items():
        cells = [_verdict(one) if each == BESIDE else _cell(one.get(each, [])) for each in names]
        lines.append(f"| {name} | {len(one[OURS])} | {' | '.join(cells)} |")
    return lines


def _verdict(one: dict[str, list[float]]) -> str:
    simple = {name: values for name, values in one.items() if name not in (OURS, ORACLE)}
    best = max(simple, key=lambda name: float(np.mean(simple[name])))
    difference = float(np.mean(one[OURS]) - np.mean(simple[best]))
    if abs(difference) <= max(np.std(one[OURS]), np.std(simple[best])):
        return f"equal ({best})"
    return f"{'ahead of' if difference > 0 else 'behind'} {best}"


def _cell(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else ""


def _plain(name: str) -> str:
    """A detector's name without what differs between sets."""
    return name.partition(" (")[0]


def _write(file: Path, part: dict[str, Any]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(part, indent=1) + "\n")
    partial.replace(file)


if __name__ == "__main__":
    main()
