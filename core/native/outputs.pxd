from libc.stdint cimport int32_t, int64_t
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "output_write.hpp" namespace "caststream" nogil:
    cdef enum NumberKind:
        FLOAT32_NUMBER
        FLOAT64_NUMBER
        WHOLE_NUMBER
        TEXT_NUMBER
        DISTANCE
        AWAITED
    cdef cppclass OutputNumber:
        string before
        NumberKind kind
        vector[string] texts
    cdef cppclass NativeShape "caststream::OutputShape":
        vector[OutputNumber] numbers
        string after
        int32_t outputs
        size_t room
        string model
    cdef cppclass WindowPart:
        int64_t start
        int64_t length
        bint is_final
        const char* reason
    cdef cppclass OutputRecord:
        int64_t step
        int64_t timestamp_ms
        int64_t gap
        const double* numbers
        const WindowPart* window
    size_t OUTPUT_ROOM
    size_t NUMBER_ROOM
    char* write_json(char* out, const char* head, size_t size, const NativeShape& shape, const OutputRecord& record)
    char* write_msgpack(char* out, const char* head, size_t size, const NativeShape& shape, const OutputRecord& record)


cdef class NamedOutputs:
    cdef NativeShape native
    cdef readonly bint msgpack
    cdef string prefix  # what the next number has to be written after
    cdef bytes head(self, str stream, str sequence)
    cdef char* write(self, char* out, bytes head, const OutputRecord& record)
