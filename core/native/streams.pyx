"""Streams in memory, as compiled inner loops reach them: fields without a lookup, a few hundred bytes each."""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memset

NO_STATE = -1  # the offset of a stream that has none
NOT_LISTED = 0
NO_STEP = -1  # the step of a step back where there was none
SHIPPED_WIDTH = 5  # numbers of a sample of the two tasks that ship


@cython.no_gc
cdef class StreamState:
    """What a stream remembers between records.

    ``offset``: source offset of the last good record; ``append_ms`` and ``timestamp_ms``: its append time and event time.
    ``sequence`` and ``previous``: the current sequence and the one before; None: there was none. ``step``: the last one.
    ``closed``: a cast that has ended. ``sample``: the last sample, ``width`` numbers, for gap policy hold and for what a
    record lacks; it has the precision of float32, so that it is the same before and after a restart. ``[gap_first, gap_end)``: the
    steps that the sequence's last gap has skipped. ``back_step``, ``back_ms`` and ``back_offset``: step, event time and
    source offset of the last step back since the last good record; `NO_STEP`: there was none.
    """

    def __init__(self, int width=SHIPPED_WIDTH):
        self._make_room(width)
        self.clear()

    def __dealloc__(self):
        PyMem_Free(self.values)

    cdef int _make_room(self, int width) except -1:
        cdef void* room
        if width != self.width:
            room = PyMem_Realloc(self.values, width * sizeof(float))
            if room == NULL:
                raise MemoryError
            self.values, self.width = <float*>room, width
        return 0

    cpdef clear(self):
        """Have no state."""
        self.offset = NO_STATE
        self.append_ms = 0
        self.timestamp_ms = 0
        self.step = -1
        self.gap_first, self.gap_end = 0, 0
        self.back_step, self.back_ms, self.back_offset = NO_STEP, 0, NO_STATE
        self.closed = False
        self.sequence = ""
        self.previous = None
        memset(self.values, 0, self.width * sizeof(float))

    @property
    def included(self):
        """The highest source offset that the state includes: of the last good record, or of a step back after it."""
        return self.offset if self.back_step < 0 else self.back_offset

    @property
    def sequence(self):
        """The name of the current sequence."""
        return self._sequence

    @sequence.setter
    def sequence(self, str name):
        self._sequence = name
        self.head = None

    @property
    def sample(self):
        """The last sample, as the model reads it. It may be set to one of another width."""
        return tuple([self.values[i] for i in range(self.width)])

    @sample.setter
    def sample(self, values):
        cdef int i
        self._make_room(len(values))
        for i in range(self.width):
            self.values[i] = values[i]


@cython.no_gc
cdef class LiveStream(StreamState):
    """A stream with its place: (source partition, key). ``listed``: the commit that will write its state, 0 for none.

    ``repeats``: duplicates by step since the good record at offset ``repeated_at``; ``is_told``: they were many once.
    """

    def __init__(self, int partition, bytes key, int width=SHIPPED_WIDTH):
        StreamState.__init__(self, width)
        self.partition = partition
        self.key = key
        self.listed = NOT_LISTED
        self.repeated_at, self.repeats, self.is_told = NO_STATE, 0, False

    @property
    def name(self):
        """The key as text."""
        return self.key.decode()


@cython.no_gc
cdef class SignalStream(LiveStream):
    """A signal stream; its h and c stand in row ``row`` of the hidden states.

    ``chunk`` is the number of the last chunk that stepped it, ``run`` its batch row there.
    """

    def __init__(self, int partition, bytes key, row, int width=SHIPPED_WIDTH):
        LiveStream.__init__(self, partition, key, width)
        self.row = row
        self.chunk = -1
        self.run = -1
