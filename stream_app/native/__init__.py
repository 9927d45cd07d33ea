"""Compiled inner loops of the shell: Kafka record batches, read and written many records at a time."""
