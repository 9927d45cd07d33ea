from core.native.streams cimport StreamState


cpdef bytes pack_head(StreamState state, bytes model)
