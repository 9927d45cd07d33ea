"""From a chunk to what is published and committed: the pipeline of a task, its outputs, its states, its commits.

`stream_app.worker` runs it; nothing here knows of assignments or signals. Begin with `pipeline` (one chunk), then
`commits`, which holds the order: outputs, states, offsets.
"""
