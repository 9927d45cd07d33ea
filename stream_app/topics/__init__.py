"""Work on the topics: what they should be, what is checked at a start, whose they are, and how they grow.

The command line and a worker's start call it. Begin with `plans`, then `administration` (create, describe, reset) and
`ownership`.
"""
