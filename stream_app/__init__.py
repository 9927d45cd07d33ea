"""The application on Kafka. Its rooms are packages; what stands here every room may use.

`settings` is the one configuration, `routes` names the topics and tables, `headers`, `sizes`, `exits` and `logs` are
small and shared. docs/architecture.md shows the rooms and the way of a sample through them.
"""
