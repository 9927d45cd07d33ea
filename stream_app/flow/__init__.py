"""The flow of a chunk through a worker: the pipeline of a task, its outputs, its states, its commits.

`stream_app.worker` runs it; nothing here knows of assignments or signals. Begin with `pipeline` (one chunk), then
`commits`, which holds the order: outputs, states, offsets.
"""
