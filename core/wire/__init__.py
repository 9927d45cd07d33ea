"""Records as they stand on the wire: formats, names, limits, and what to say of one that cannot be read.

Anybody may call it; it knows nothing of streams, models or Kafka. Begin with `records`: the fields of a sample, a
prediction and a score, and their codecs.
"""
