"""The auditor's side of ``caststream verify``: what must have come out of the records of a source partition.

The record table of the wire contract is read here a second time, one record after the other, and the models run over
whole sequences. Nothing of the worker's stream engine is used, so that a fault in it cannot hide itself; what the two
share is the wire format (`core.wire.records`, `core.engines.state.unpack_state`, `core.engines.windows.unpack_segment`)
and the models. Only `stream_app.verify` calls it. Begin with `partition`.
"""
