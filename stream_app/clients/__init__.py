"""Plain Kafka clients for questions and tools: access, administration, reading and writing without a group.

Every room above may call it; the worker's own transport is in `stream_app.kafka`. Begin with `admin` (questions about a
cluster), `topic_reader` (topics from offset to offset, or from their end on) and `asking` (again, while a broker
starts); `outages` tells an outage from a refusal.
"""
