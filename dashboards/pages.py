"""The four dashboards."""

from __future__ import annotations

from dashboards.panels import WORKERS, Dashboard, Panel, Query, quantile, quantiles, rate, share

SIGNALS, SCORES = 'topic=~".*signal-predictions"', 'topic=~".*casting-scores"'
LATENCY = "caststream_latency_seconds"
MIDDLE_AND_HIGH = (0.5, 0.99)
PROBABILITY = "caststream_score_probability"
BELOW = 'le="$threshold"'
SCORED = rate(f"{PROBABILITY}_count")


def _gauge(metric: str, how: str, by: str) -> str:
    return f"{how} by ({by}) ({metric}{{{WORKERS}}})"


def _in_time(topics: str, bound: str) -> Query:
    within = rate(f"{LATENCY}_bucket", "topic", f'{topics},le="{bound}"')
    return Query(share(within, rate(f"{LATENCY}_count", "topic", topics)), "{{topic}}")


LATENCY_PAGE = Dashboard(
    "caststream-latency",
    "caststream: latency",
    "From the append of a sample to the broker's acknowledgement of its output.",
    (
        Panel("Signals: latency", "s", quantiles(LATENCY, SIGNALS), "Every sample counts once."),
        Panel("Casts: latency of scores", "s", quantiles(LATENCY, SCORES), "Of the samples that had a score."),
        Panel(
            "Signals: distribution of latency",
            "s",
            (Query(f"sum by (le) (increase({LATENCY}_bucket{{{WORKERS},{SIGNALS}}}[$__rate_interval]))", "{{le}}"),),
            "A second band above the first is a part of the streams, or of the time, that is slower.",
            "heatmap",
        ),
        Panel(
            "Outputs in time",
            "percentunit",
            (
                _in_time(SIGNALS, "0.1"),
                _in_time(SCORES, "1.0"),
            ),
            "Predictions within 100 ms, scores within 1 s. The objective is 99 % of each.",
        ),
        Panel(
            "99th percentile by stage",
            "s",
            (Query(quantile(0.99, "caststream_stage_seconds", "stage"), "{{stage}}"),),
            "Per chunk: decode, infer, publish. Per commit: pack, which is work, and commit, which mostly waits.",
        ),
        Panel(
            "Time in stages",
            "percentunit",
            (Query(rate("caststream_stage_seconds_sum", "stage", 'stage!="commit"'), "{{stage}}"),),
            "Of all workers; 100 % is one core. Scoring of casts runs beside the rest. Commits mostly wait: not shown.",
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
            "Samples by topic and outcome",
            "cps",
            (Query(rate("caststream_records_total", "topic, outcome"), "{{topic}} {{outcome}}"),),
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
            (Query(_gauge("caststream_consumer_lag_records", "sum", "topic"), "{{topic}}"),),
            "Log end less committed offset, so those of the last half a second always wait.",
        ),
        Panel(
            "Lag by partition",
            "short",
            (
                Query(
                    f"topk(10, {_gauge('caststream_consumer_lag_records', 'max', 'topic, partition')})",
                    "{{topic}} {{partition}}",
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
            (Query(_gauge("caststream_commit_age_seconds", "max", "instance"), "{{instance}}"),),
            "Rises with samples waiting: the broker takes no writes.",
        ),
        Panel(
            "Commit duration",
            "s",
            quantiles("caststream_stage_seconds", 'stage="commit"', levels=MIDDLE_AND_HIGH),
            "Acknowledgements of outputs, states, offsets: the broker's disk and network.",
        ),
        Panel(
            "Live streams",
            "short",
            (Query(_gauge("caststream_active_streams", "sum", "table"), "{{table}}"),),
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
            (Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
            "Cores. A worker steps on one.",
            width=6,
        ),
        Panel(
            "Memory",
            "bytes",
            (Query(_gauge("process_resident_memory_bytes", "max", "instance"), "{{instance}}"),),
            "Grows with live streams, not with the lag.",
            width=6,
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
                        rate("caststream_records_total", "topic", 'outcome=~"dead_letter|late"'),
                        rate("caststream_records_total", "topic"),
                    ),
                    "{{topic}}",
                ),
            ),
            "They are in the topic of dead letters.",
        ),
        Panel(
            "Dead letters by reason",
            "cps",
            (Query(rate("caststream_dead_letters_total", "topic, reason"), "{{topic}} {{reason}}"),),
            "caststream tail dead-letters shows them.",
            "stacked",
        ),
        Panel(
            "Duplicates by reason",
            "cps",
            (Query(rate("caststream_duplicates_total", "topic, reason"), "{{topic}} {{reason}}"),),
            "step: a sender repeats, or its counter started again. offset: applied before a restart.",
        ),
        Panel(
            "Gaps",
            "cps",
            (Query(rate("caststream_gaps_total"), "gaps"),),
            "Jumps over missing steps. How many were missing, each output says.",
        ),
        Panel(
            "States set to zero, by reason",
            "cps",
            (Query(rate("caststream_resets_total", "reason"), "{{reason}}"),),
            "sequence, restart, step_back and idle are the streams' own. model: it changed. corrupt_state: report it.",
        ),
        Panel(
            "Records lost to retention",
            "short",
            (Query(f"sum(increase(caststream_records_lost_total{{{WORKERS}}}[1h]))", "in an hour"),),
            "Kafka deleted them before they were read. More than 0: raise the retention of the source.",
            "number",
            width=6,
        ),
        Panel(
            "Streams in two partitions",
            "short",
            (Query(f"sum(increase(caststream_moved_streams_total{{{WORKERS}}}[1h]))", "in an hour"),),
            "More than 0: senders with different partitioners feed one stream.",
            "number",
            width=6,
        ),
        Panel(
            "Outputs left out",
            "short",
            (Query(f"sum(increase(caststream_outputs_left_out_total{{{WORKERS}}}[1h])) or vector(0)", "in an hour"),),
            "After a crash: they were published already.",
            "number",
            width=6,
        ),
    ),
)

CASTING_PAGE = Dashboard(
    "caststream-casting",
    "caststream: casting",
    "Scores of casts.",
    (
        Panel(
            "Scores",
            "cps",
            (Query(rate("caststream_scores_total", "final"), "final {{final}}"),),
            "On the way, and final ones: one for each cast.",
            "stacked",
        ),
        Panel(
            "Scores above the threshold",
            "percentunit",
            (Query(f"1 - {share(rate(f'{PROBABILITY}_bucket', labels=BELOW), SCORED)}", "above $threshold"),),
            "Far from its usual level: the process has changed, or a sensor has.",
        ),
        Panel(
            "Distribution of probabilities",
            "percentunit",
            (
                Query(
                    f"sum by (le) (increase({PROBABILITY}_bucket{{{WORKERS}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            "By twentieths.",
            "heatmap",
        ),
        Panel(
            "Casts in an hour",
            "short",
            (Query(f'sum(increase(caststream_scores_total{{{WORKERS},final="true"}}[1h]))', "casts"),),
            "Final scores.",
        ),
        Panel(
            "Scores without a probability",
            "percentunit",
            (Query(f"1 - {share(SCORED, rate('caststream_scores_total'))}", "share"),),
            "Of casts that ended before their first score was due.",
        ),
        Panel(
            "Models",
            "short",
            (
                Query(
                    f"count by (model, fingerprint) (caststream_model_info{{{WORKERS}}})", "{{model}} {{fingerprint}}"
                ),
            ),
            "Workers with each. Two fingerprints of one model: a change is under way.",
            "number",
        ),
    ),
)

PAGES = (LATENCY_PAGE, THROUGHPUT_PAGE, QUALITY_PAGE, CASTING_PAGE)
