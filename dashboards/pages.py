"""The four dashboards."""

from __future__ import annotations

from dashboards.panels import (
    TASKS,
    TASKS_AND_COMMITS,
    WORKERS,
    Dashboard,
    Panel,
    Query,
    TaskKind,
    of_kind,
    quantile,
    quantiles,
    rate,
    share,
)

LATENCY = "caststream_latency_seconds"
STAGES = "caststream_stage_seconds"
MIDDLE_AND_HIGH = (0.5, 0.99)
PROBABILITY = "caststream_score_probability"
BELOW = 'le="$threshold"'


def _gauge(metric: str, how: str, by: str, of: str = TASKS) -> str:
    return f"{how} by ({by}) ({metric}{{{of}}})"


def _in_time(kind: TaskKind, bound: str) -> Query:
    within = rate(f"{LATENCY}_bucket", "task", f'le="{bound}"', kind=kind)
    return Query(share(within, rate(f"{LATENCY}_count", "task")), "{{task}}")


def _in_an_hour(metric: str) -> str:
    return f"sum by (task) (increase({metric}{{{TASKS}}}[1h]))"


def _share_of_records(metric: str) -> Query:
    counted = rate(metric, "task, field")
    return Query(
        f"{counted} / on (task) group_left () ({rate('caststream_records_total', 'task')} > 0)", "{{task}} {{field}}"
    )


LATENCY_PAGE = Dashboard(
    "caststream-latency",
    "caststream: latency",
    "From the append of a sample to the broker's acknowledgement of its output.",
    (
        Panel("Step tasks: latency", "s", quantiles(LATENCY, kind="step"), "Every sample counts once.", width=8),
        Panel(
            "Window tasks: latency",
            "s",
            quantiles(LATENCY, kind="window"),
            "Of the samples with which an output was due.",
            width=8,
        ),
        Panel(
            "99th percentile by task",
            "s",
            (Query(quantile(0.99, LATENCY, "task"), "{{task}}"),),
            "Choose a task above: then all panels are of it alone.",
            width=8,
        ),
        Panel(
            "Step tasks: distribution of latency",
            "s",
            (
                Query(
                    "sum by (le) (" + of_kind(f"increase({LATENCY}_bucket{{{TASKS}}}[$__rate_interval])", "step") + ")",
                    "{{le}}",
                ),
            ),
            "A second band above the first is a part of the streams, or of the time, that is slower.",
            "heatmap",
        ),
        Panel(
            "Outputs in time",
            "percentunit",
            (_in_time("step", "0.1"), _in_time("window", "1.0")),
            "Those of step tasks within 100 ms, those of window tasks within 1 s. The objective is 99 % of each.",
        ),
        Panel(
            "99th percentile by stage",
            "s",
            (Query(quantile(0.99, STAGES, "stage", of=TASKS_AND_COMMITS), "{{stage}}"),),
            "Per chunk: decode, infer, publish. Per commit: pack, which is work, and commit, which mostly waits.",
        ),
        Panel(
            "Time in stages",
            "percentunit",
            (Query(rate(f"{STAGES}_sum", "task, stage", 'stage!="commit"', TASKS_AND_COMMITS), "{{task}} {{stage}}"),),
            "Of all workers; 100 % is one core. Windows are scored beside the rest. Commits mostly wait: not shown.",
            "stacked",
        ),
    ),
)

THROUGHPUT_PAGE = Dashboard(
    "caststream-throughput",
    "caststream: throughput and workers",
    "Is it keeping up, and what does it take?",
    (
        Panel(
            "Samples by task and outcome",
            "cps",
            (Query(rate("caststream_records_total", "task, outcome"), "{{task}} {{outcome}}"),),
            "What came in, and what became of it.",
            "stacked",
        ),
        Panel(
            "Samples by worker",
            "cps",
            (Query(rate("caststream_records_total", "instance"), "{{instance}}"),),
            "Uneven: partitions differ, or the workers have different numbers of them.",
        ),
        Panel(
            "Lag",
            "short",
            (Query(_gauge("caststream_consumer_lag_records", "sum", "task"), "{{task}}"),),
            "Log end less committed offset, so those of the last half a second always wait.",
        ),
        Panel(
            "Lag by partition",
            "short",
            (
                Query(
                    f"topk(10, {_gauge('caststream_consumer_lag_records', 'max', 'task, partition')})",
                    "{{task}} {{partition}}",
                ),
            ),
            "One above all others: a slow worker, or one stream with most of the samples.",
        ),
        Panel(
            "Batch size: streams per model call",
            "short",
            quantiles("caststream_batch_streams", levels=MIDDLE_AND_HIGH),
            "Batches grow with the load; they never wait.",
        ),
        Panel(
            "Batch size: steps per model call",
            "short",
            quantiles("caststream_batch_steps", levels=MIDDLE_AND_HIGH),
            "Above the number of streams: waiting samples of a stream are stepped in one call.",
        ),
        Panel(
            "Time since the last commit",
            "s",
            (Query(_gauge("caststream_commit_age_seconds", "max", "instance", WORKERS), "{{instance}}"),),
            "Rises with samples waiting: the broker takes no writes.",
        ),
        Panel(
            "Commit duration",
            "s",
            quantiles(STAGES, 'stage="commit"', MIDDLE_AND_HIGH, WORKERS),
            "Acknowledgements of outputs, states, offsets: the broker's disk and network.",
        ),
        Panel(
            "Live streams",
            "short",
            (Query(_gauge("caststream_active_streams", "sum", "task"), "{{task}}"),),
            "Until idle_timeout after their last sample.",
            width=6,
        ),
        Panel(
            "Workers up",
            "short",
            (Query('sum(up{job=~"$job"})', "workers"),),
            "Of those that Prometheus scrapes.",
            "number",
            width=6,
        ),
        Panel(
            "CPU",
            "short",
            (Query(rate("process_cpu_seconds_total", "instance", of=WORKERS), "{{instance}}"),),
            "Cores. A worker steps on one.",
            width=6,
        ),
        Panel(
            "Memory",
            "bytes",
            (Query(_gauge("process_resident_memory_bytes", "max", "instance", WORKERS), "{{instance}}"),),
            "Grows with live streams, not with the lag.",
            width=6,
        ),
        Panel(
            "Tasks and their models",
            "short",
            (
                Query(
                    f"count by (task, fingerprint) (caststream_model_info{{{TASKS}}})",
                    "{{task}} {{fingerprint}}",
                ),
            ),
            "The workers that run each. Two fingerprints of one task: a change is under way. Fewer workers of one task "
            "than of the others: it is being added or removed.",
            "number",
            width=24,
        ),
    ),
)

QUALITY_PAGE = Dashboard(
    "caststream-quality",
    "caststream: data quality",
    "What is wrong with the samples, and what it did to the streams.",
    (
        Panel(
            "Records that cannot be used",
            "percentunit",
            (
                Query(
                    share(
                        rate("caststream_records_total", "task", 'outcome=~"dead_letter|late"'),
                        rate("caststream_records_total", "task"),
                    ),
                    "{{task}}",
                ),
            ),
            "They are in the topic of dead letters.",
        ),
        Panel(
            "Dead letters by reason",
            "cps",
            (Query(rate("caststream_dead_letters_total", "task, reason"), "{{task}} {{reason}}"),),
            "caststream tail dead-letters shows them.",
            "stacked",
        ),
        Panel(
            "Duplicates by reason",
            "cps",
            (Query(rate("caststream_duplicates_total", "task, reason"), "{{task}} {{reason}}"),),
            "step: a sender repeats, or its counter started again. offset: applied before a restart.",
        ),
        Panel(
            "Gaps",
            "cps",
            (Query(rate("caststream_gaps_total", "task"), "{{task}}"),),
            "Jumps over missing steps. How many were missing, each output says.",
        ),
        Panel(
            "States set to zero, by reason",
            "cps",
            (Query(rate("caststream_resets_total", "task, reason"), "{{task}} {{reason}}"),),
            "sequence, restart, step_back and idle are the streams' own. model: it changed. corrupt_state: report it.",
        ),
        Panel(
            "Values outside of what is normal",
            "percentunit",
            (_share_of_records("caststream_abnormal_total"),),
            "By field, as the task's file has it in `normal`. Such records are used all the same.",
        ),
        Panel(
            "Values far outside of the model's training",
            "percentunit",
            (_share_of_records("caststream_out_of_training_range_total"),),
            "Of models of `caststream train`. Their outputs mean little: a unit or a sensor is wrong.",
        ),
        Panel(
            "Fields that were missing and held",
            "percentunit",
            (_share_of_records("caststream_held_fields_total"),),
            'Of tasks with `missing = "hold"`: the stream\'s last value stood in.',
        ),
        Panel(
            "Outputs without a number",
            "cps",
            (Query(rate("caststream_outputs_not_finite_total", "task"), "{{task}}"),),
            "More than 0: the model overflows.",
        ),
        Panel(
            "Records lost to retention",
            "short",
            (Query(_in_an_hour("caststream_records_lost_total"), "{{task}}, in an hour"),),
            "Kafka deleted them before they were read. More than 0: raise the retention of the source.",
            "number",
            width=6,
        ),
        Panel(
            "Streams in two partitions",
            "short",
            (Query(_in_an_hour("caststream_moved_streams_total"), "{{task}}, in an hour"),),
            "More than 0: senders with different partitioners feed one stream.",
            "number",
            width=6,
        ),
        Panel(
            "Outputs left out",
            "short",
            (Query(_in_an_hour("caststream_outputs_left_out_total"), "{{task}}, in an hour"),),
            "After a crash: they were published already.",
            "number",
            width=6,
        ),
    ),
)

WINDOWS_PAGE = Dashboard(
    "caststream-windows",
    "caststream: windows",
    "Outputs of the tasks that look at windows of samples, such as scores of casts.",
    (
        Panel(
            "Outputs",
            "cps",
            (Query(rate("caststream_scores_total", "task, final"), "{{task}} final {{final}}"),),
            "On the way, and final ones: one for each sequence.",
            "stacked",
        ),
        Panel(
            "Probabilities above the threshold",
            "percentunit",
            (
                Query(
                    f"1 - {share(rate(f'{PROBABILITY}_bucket', 'task', BELOW), rate(f'{PROBABILITY}_count', 'task'))}",
                    "{{task}} above $threshold",
                ),
            ),
            "Far from its usual level: the process has changed, or a sensor has.",
        ),
        Panel(
            "Distribution of probabilities",
            "percentunit",
            (
                Query(
                    f"sum by (le) (increase({PROBABILITY}_bucket{{{TASKS}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "By twentieths. Choose a task above.",
            "heatmap",
        ),
        Panel(
            "Sequences in an hour",
            "short",
            (Query(f'sum by (task) (increase(caststream_scores_total{{{TASKS},final="true"}}[1h]))', "{{task}}"),),
            "Final outputs, one for each sequence, such as a cast.",
        ),
        Panel(
            "Outputs without a probability",
            "percentunit",
            (
                Query(
                    f"1 - {share(rate(f'{PROBABILITY}_count', 'task'), rate('caststream_scores_total', 'task'))}",
                    "{{task}}",
                ),
            ),
            "Of sequences that ended before their first output was due.",
            width=24,
        ),
    ),
)

PAGES = (LATENCY_PAGE, THROUGHPUT_PAGE, QUALITY_PAGE, WINDOWS_PAGE)
