"""The check of a task's model before it runs: names, states, fields, batches, an example, and what a step costs.

`caststream task check` calls it, and every start of a worker. Begin with `run`, which runs `child` with limits on
memory and time and keeps its findings; `examine` has the steps of the check.
"""
