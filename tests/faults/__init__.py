"""The fault suite: live load and real workers on a real broker, while everything around them fails as a seed says.

`python -m tests.faults.run --seed 1 --schedules 20` (also `make faults`) plays schedules, and the consistency checker
judges each.
"""
