"""A Kafka broker on this machine: its jars, its Java, its configuration and its process.

The command line, the demo and tests call it. Begin with `broker`.
"""
