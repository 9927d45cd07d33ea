"""Golden bytes: what caststream 0.1 published, refused and stored for given records, kept in files.

Outputs, dead letters and state records of the two tasks that ship are promises to consumers and to stored states. The
files here were recorded once, from version 0.1.0 at the commit that each file names. They are compared and never
recorded again: a test that fails on them has found that a consumer or an upgrade would see another byte.

`scenarios` has the types and reads the files, `play` runs a scenario through the engines of now, `compare` finds the
differences, `inputs` made the records, `record` wrote the files. `upgrade` is about a whole system in Kafka.
"""
