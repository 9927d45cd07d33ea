"""What a broker sends, cut into its answers: each stands behind its size."""

from libc.stdint cimport int32_t


cdef extern from "byte_order.hpp" namespace "caststream" nogil:
    T load[T](const char* at)


cdef enum:
    SIZE_BYTES = 4


cdef class FrameCutter:
    """The receiving half of an ``asyncio.BufferedProtocol``; what is done with an answer is its subclass's.

    Args:
        room_bytes: for what arrives. A larger answer gets as much as it needs, for as long as it arrives.
        largest_bytes: a larger size is no size: room for it is not made.
    """

    cdef bytearray room
    cdef Py_ssize_t filled, room_bytes, largest_bytes

    def __init__(self, Py_ssize_t room_bytes, Py_ssize_t largest_bytes):
        self.room_bytes, self.largest_bytes = room_bytes, largest_bytes
        self.room, self.filled = bytearray(room_bytes), 0

    def take_frame(self, frame):
        """Do something with an answer, whose bytes stay as they are until the return."""
        raise NotImplementedError

    def end(self, error):
        """Nothing of what comes from here on can be read."""
        raise NotImplementedError

    def get_buffer(self, Py_ssize_t sizehint):
        """Return where the next bytes go."""
        return memoryview(self.room)[self.filled:]

    def buffer_updated(self, Py_ssize_t nbytes):
        """So many bytes have arrived there."""
        cdef Py_ssize_t start = 0, end
        self.filled += nbytes
        end = self.end_of_frame(start)
        while end <= self.filled:
            self.take_frame(memoryview(self.room)[start + SIZE_BYTES:end])
            start = end
            end = self.end_of_frame(start)
        if end - start > self.largest_bytes:
            self.end(ValueError(f"an answer of {end - start} bytes"))
            start = end = self.filled
        self.keep(start, end - start)

    cdef Py_ssize_t end_of_frame(self, Py_ssize_t start) noexcept:
        """Where a frame ends, as far as that is known."""
        cdef Py_ssize_t head = start + SIZE_BYTES
        if self.filled < head:
            return head
        return head + max(load[int32_t](<const char*>self.room + start), 0)

    cdef int keep(self, Py_ssize_t start, Py_ssize_t needed) except -1:
        """Move the begun frame to the front, into room for all of it."""
        cdef Py_ssize_t size = len(self.room), wanted = max(needed, self.room_bytes)
        if start == 0 and needed <= size:
            return 0  # it goes on where it is: the pieces of a large one are not copied again and again
        if start == self.filled and size == wanted:
            self.filled = 0
            return 0
        rest = bytes(memoryview(self.room)[start:self.filled])
        if size != wanted:
            self.room = bytearray(wanted)
        self.room[:len(rest)] = rest
        self.filled = len(rest)
        return 0
