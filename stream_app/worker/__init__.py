"""Processes that serve: the supervisor, one worker process, its Faust application, recovery and health.

The command line starts it. Begin with `supervisor`, then `process`, then `app`: what happens when partitions come and
go.
"""
