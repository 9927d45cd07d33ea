"""Reports on a task's anomaly scores over a file: figures beside simple detectors, alarms, a page and its pictures.

The command line calls it. Begin with `evaluate`.
"""
