"""Casting windows: their highest rate beside the model's own, their price at 1 Hz, and both kinds of load at once.

    .venv/bin/python benchmarks/bench_castings.py [--quick] [--json] [--against CHECKOUT]

1,000 strands at hop 30. First their samples lie ready and a worker takes them as fast as it can; the model's rate is
`score_windows` on windows of the same lengths. Then, on topics of their own, every strand has a full window of 500
samples but for a few, staggered so that windows are not all due at once, and goes on at 1 Hz: alone, and beside 5,000
signal samples/s. There ``window_min`` is 500, which spares the windows on the way and changes nothing afterwards. With
--against the worker of another checkout takes turns with ours, and what it gave has names that end with ``_before``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from checkouts import Checkout
from harness import bench_broker, scratch
from live_worker import LiveWorker, Meter, broker_pid
from loads import WARM_UP_S, Watch, load_of, send, send_measured, summary
from paced_sender import Load
from reporting import Report, Row, Say, at, figure, markdown, parser, run_script

from core.engines.infer import prepare, score_windows
from core.errors import RunError
from core.models.defect_lstm import SteelDefectLSTM
from core.models.factory import load_model
from core.models.shipped import checkpoint_path
from stream_app.routes import CASTING_SAMPLES
from stream_app.settings import Settings
from stream_app.topics.administration import create_topics

STRANDS = 1000
SIGNALS, SIGNAL_STREAMS = 5000, 1000
POLL_S = 0.5
QUIET_S = 60.0
BEFORE = "_before"
WORDS = {"": "", BEFORE: " of the other checkout"}
MOST_CORES, MOST_MS, LEAST_GAIN = 0.35, 15.0, 1.4
"""Wanted: cores of the strands at 1 Hz alone, p99 of signals beside them, windows/s beside those of ``--against``."""
MAX_WINDOWS = 64  # in a call of the model alone: more are not faster
RAMP = 0.1  # share of the samples that no rate counts: the worker starts


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The report, ready for JSON: ``max``, ``model``, ``paced`` (castings alone), ``both``, and the ``targets``."""
    steps = options.steps or (190 if options.quick else 530)
    seconds = options.seconds or (15 if options.quick else 60)
    codes = {"": None} | ({BEFORE: Checkout(options.against)} if options.against else {})
    report: Report = {"strands": STRANDS, "steps": steps, "seconds": seconds, "seed": options.seed}
    with bench_broker(say) as settings, scratch("castings") as directory:
        report["model"] = model_rate(settings, steps, 2 if options.quick else 5)
        say(f"the model alone: {report['model']['windows_per_s']:,.0f} windows/s")
        rates: dict[str, list[dict[str, Any]]] = {suffix: [] for suffix in codes}
        for turn in range(options.rounds):
            for suffix, code in list(codes.items())[:: -1 if turn % 2 else 1]:
                fast = settings.replace(app_id=f"fast{suffix}{turn}", topic_prefix=f"fast{suffix}{turn}-")
                create_topics(fast)
                with LiveWorker(fast, directory, code=code) as worker:
                    found = _at_full_speed(worker, _filling(fast, steps, 1, options.seed), partial(_say, say, suffix))
                rates[suffix].append(found)
        for suffix, code in codes.items():
            report[f"max{suffix}"] = _median_of(rates[suffix])
            report |= _at_1_hz(settings, directory, options.seed, seconds, suffix, code, partial(_say, say, suffix))
    return report | {"targets": targets(report)}


def _say(say: Say, suffix: str, line: str) -> None:
    say(f"{suffix.strip('_')}: {line}" if suffix else line)


def _median_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of the median rate, and all rates."""
    ordered = sorted(runs, key=lambda run: run["windows_per_s"])
    return ordered[(len(ordered) - 1) // 2] | {"windows_per_s_of_runs": [run["windows_per_s"] for run in runs]}


def _at_1_hz(
    settings: Settings, directory: Path, seed: int, seconds: float, suffix: str, code: Checkout | None, say: Say
) -> dict[str, Any]:
    full = settings.replace(app_id=f"full{suffix}", topic_prefix=f"full{suffix}-", window_min=settings.window_length)
    create_topics(full)
    filling = _filling(full, full.window_length - full.hop, full.hop, seed)
    samples = send(filling)["samples"]
    with LiveWorker(full, directory, code=code) as worker:
        worker.start()
        _look_until(worker, samples)
        paced = _paced(worker, replace(filling, fill=False), seconds, 0, say)
        later = replace(filling, fill=False, first_step=filling.first_step + paced["rounds"])
        return {f"paced{suffix}": paced, f"both{suffix}": _paced(worker, later, seconds, SIGNALS, say)}


def targets(report: Report) -> list[dict[str, Any]]:
    """Say what is wanted, what was found, and whether it holds."""
    cores, p99_ms = report["paced"]["worker_cores"], report["both"]["signal"]["p99_ms"]
    made = [
        {
            "what": "cores of strands at 1 Hz, at most",
            "wanted": MOST_CORES,
            "found": cores,
            "held": cores <= MOST_CORES,
        },
        {"what": "p99 ms of signals beside, at most", "wanted": MOST_MS, "found": p99_ms, "held": p99_ms <= MOST_MS},
    ]
    if (before := at(report, f"max{BEFORE}", "windows_per_s")) is not None:
        gain = report["max"]["windows_per_s"] / before
        what = "windows/s as a multiple of the other checkout's, at least"
        made.append({"what": what, "wanted": LEAST_GAIN, "found": gain, "held": gain >= LEAST_GAIN})
    return made


def _filling(settings: Settings, steps: int, stagger: int, seed: int) -> Load:
    """So many samples of each strand, and up to ``stagger`` more, as fast as they go."""
    what = {"streams": STRANDS, "rate": 0, "samples": 0, "sequence": "cast", "fill": True}
    return load_of(settings, "casting", **what, first_step=steps, stagger=stagger, seed=seed)


def window_lengths(settings: Settings, steps: int) -> Counter[int]:
    """Count the windows of each length that one strand's first ``steps`` samples make due."""
    due = range(settings.window_min, steps + 1, settings.hop)
    return Counter(min(count, settings.window_length) for count in due)


def model_rate(settings: Settings, steps: int, batches: int) -> dict[str, float]:
    """Windows per second of the model alone, over the lengths of the fill, in full batches; best of several."""
    model = cast(SteelDefectLSTM, load_model(checkpoint_path("defect"), "defect"))
    prepare(model)
    source = np.random.default_rng(1)
    seconds, windows = 0.0, 0
    for length, count in window_lengths(settings, steps).items():
        batch = [source.standard_normal((length, model.input_size)).astype(np.float32) for _ in range(MAX_WINDOWS)]
        taken = []
        for _ in range(batches):
            started = time.perf_counter()
            score_windows(model, batch)
            taken.append(time.perf_counter() - started)
        seconds += count * min(taken) / MAX_WINDOWS
        windows += count
    return {"windows_per_s": windows / seconds, "samples_per_s": steps / seconds}


def _at_full_speed(worker: LiveWorker, fill: Load, say: Say) -> dict[str, Any]:
    """Rates with all samples waiting, from the worker's own counts; starts the worker."""
    say("sending the castings ahead ...")
    watch = Watch(worker.settings, "casting")
    samples = send(fill)["samples"]
    worker.start()
    meter = Meter(worker=worker.pid, broker=broker_pid())
    looks = _look_until(worker, samples)
    spent = {f"{name}_cpu_us": 1e6 * cpu_s / samples for name, cpu_s in meter.cpu_s().items()}
    watch.wait(looks[-1][2], worker.require_running)
    begin = next(look for look in looks if look[1] >= RAMP * samples)
    if begin is looks[-1]:
        raise RunError(f"{samples:,} samples were done at once: too few to be timed")
    elapsed = looks[-1][0] - begin[0]
    found = {
        "samples": samples,
        "windows": looks[-1][2],
        "samples_per_s": (looks[-1][1] - begin[1]) / elapsed,
        "windows_per_s": (looks[-1][2] - begin[2]) / elapsed,
        "seconds": elapsed,
        **spent,
    }
    say(f"as fast as it can: {found['samples_per_s']:,.0f} samples/s, {found['windows_per_s']:,.0f} windows/s")
    return found


def _look_until(worker: LiveWorker, samples: int) -> list[tuple[float, int, int]]:
    """(seconds, samples done, windows scored) at each look, until all samples are done."""
    topic = worker.settings.topic(CASTING_SAMPLES)
    looks, since = [(time.monotonic(), 0, 0)], time.monotonic()
    while looks[-1][1] < samples:
        time.sleep(POLL_S)
        worker.require_running()
        scrape = worker.scrape()
        done = int(scrape.get("caststream_records_total", topic=topic, outcome="processed"))
        if done > looks[-1][1]:
            since = time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            raise RunError(f"{done:,} of {samples:,} castings are done and no more for {QUIET_S:g} s")
        looks.append((time.monotonic(), done, int(scrape.get("caststream_scores_total"))))
    return looks


def _paced(worker: LiveWorker, strands: Load, seconds: float, signals: int, say: Say) -> dict[str, Any]:
    """All strands at 1 Hz, beside so many signal samples per second."""
    settings = worker.settings
    rounds = round(seconds + WARM_UP_S)
    loads = [replace(strands, rate=STRANDS, samples=STRANDS * rounds)]
    watches = {"casting": Watch(settings, "casting")}
    if signals:
        watches["signal"] = Watch(settings, "signal")
        what = {"streams": SIGNAL_STREAMS, "rate": signals, "samples": signals * rounds, "sequence": "beside"}
        loads.append(load_of(settings, "signal", **what))
    senders, cores = send_measured(loads, worker=worker.pid, broker=broker_pid())
    if signals:
        watches["signal"].wait(signals * rounds, worker.require_running)
    due = STRANDS * rounds // settings.hop - STRANDS // settings.hop  # the stagger leaves the edges open
    watches["casting"].wait(due, worker.require_running)
    time.sleep(1.0)  # and what is still due at the edge
    found: dict[str, Any] = {"rounds": rounds, "worker_cores": cores["worker"], "broker_cores": cores["broker"]}
    found["late_p99_ms"] = max(sender["late_p99_ms"] for sender in senders)
    for kind, watch in watches.items():
        latencies = watch.latencies()
        if kind == "signal" and latencies.unanswered:
            raise RunError(f"{latencies.unanswered:,} signal samples have no prediction")
        found[kind] = summary(latencies.latency_ms)
        said = f"{kind}, {'both' if signals else 'castings alone'}"
        say(f"{said}: p50 {found[kind]['p50_ms']:.1f} ms, p99 {found[kind]['p99_ms']:.1f} ms")
    return found


def table(report: Report) -> str:
    """Rates first, then the paced loads, then what is wanted."""
    model, suffixes = report["model"], [suffix for suffix in ("", BEFORE) if f"max{suffix}" in report]
    rates: list[Row] = [("the model alone", model["samples_per_s"], model["windows_per_s"])]
    rates += [
        (f"one worker{WORDS[suffix]}, as fast as it can", *(found[key] for key in ("samples_per_s", "windows_per_s")))
        for suffix in suffixes
        for found in (report[f"max{suffix}"],)
    ]
    paced: list[Row] = [
        (f"{kind} of {name}{WORDS[suffix]}", found["worker_cores"], *(found[kind][key] for key in ("p50_ms", "p99_ms")))
        for suffix in suffixes
        for load, name in (("paced", "castings alone"), ("both", "both loads"))
        for found in (report[f"{load}{suffix}"],)
        for kind in ("casting", "signal")
        if kind in found
    ]
    return "\n\n".join(
        (
            markdown((f"{report['strands']:,} strands", "samples/s", "windows/s"), rates),
            markdown(("latency at 1 Hz", "cores", "p50 ms", "p99 ms"), paced),
        )
    )


def target_lines(report: Report) -> str:
    """A line for each target."""
    return "\n".join(
        f"{'held' if held else 'NOT HELD'}: {what} {figure(wanted)}, found {figure(found)}"
        for what, wanted, found, held in (each.values() for each in report["targets"])
    )


def main() -> int:
    """Entry point."""
    options = parser(__doc__)
    options.add_argument("--steps", type=int, help="of each strand at full speed; default 530, with --quick 190")
    options.add_argument("--seconds", type=float, help="of each paced load; default 60, with --quick 15")
    options.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    options.add_argument(
        "--rounds", type=int, default=1, help="runs at full speed, of which the median counts; default 1"
    )
    options.add_argument("--against", type=Path, help="a checkout, compiled, whose worker takes turns with ours")
    return run_script(options.parse_args(), measure, lambda report: f"{table(report)}\n\n{target_lines(report)}")


if __name__ == "__main__":
    sys.exit(main())
