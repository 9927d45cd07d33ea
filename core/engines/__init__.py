"""The stream engine: records of many streams in, predictions, scores and changed states out. No clock, no Kafka.

`stream_app.flow` calls it for a worker, `core.offline` and `core.audit` share its rules. Begin with `base` (the
engine of both tasks), then `stepper` (signal) and `scorer` (casting); `state.decide` says what a step is: next, gap,
duplicate, late.
"""
