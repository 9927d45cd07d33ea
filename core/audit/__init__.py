"""The rules of ``caststream verify``: the outputs that the records of a source partition must give.

The record table of the wire contract is read here a second time, one record after the other, and the models run over
whole sequences. The worker's stream engine is not used, so that a fault in it cannot hide itself. Both share only the
wire format (`core.wire.codecs`, `core.engines.state.unpack_state`, `core.engines.windows.unpack_segment`) and the
models. Only `stream_app.verify` calls it. Begin with `partition`.
"""
