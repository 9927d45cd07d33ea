"""Plain Kafka clients for questions and tools: access, administration, reading and writing without a group.

Every room above may call it; the worker's own transport is in `stream_app.kafka`. Begin with `admin` (questions about a
cluster) and `topic_reader` (a topic from offset to offset); `outages` tells an outage from a refusal.
"""
