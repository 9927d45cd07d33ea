"""Work on the topics: their plan, the checks at a start, their owner, and how they grow.

The command line and a worker's start call it. Begin with `plans`, then `administration` (create, describe, reset) and
`ownership`.
"""
