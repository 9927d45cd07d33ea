from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "near_names.hpp" namespace "caststream" nogil:
    cdef cppclass NearMisses:
        unsigned fields
        const char* names[4]
        size_t sizes[4]

cdef extern from "field_list.hpp" namespace "caststream" nogil:
    cdef struct FieldRule:
        int32_t start
        int32_t length
        int32_t overlap
        double low
        double high
        cbool needed
    cdef struct FieldName:
        string text
        int32_t target
    cdef cppclass NativeFields "caststream::FieldList":
        vector[FieldRule] rules
        vector[FieldName] names
        int32_t needed
        int32_t width
        cbool overlaps
        cbool booleans
        void finish(cbool with_end)
        size_t most_msgpack_bytes()
        int32_t find(const char* name, size_t size)

cdef extern from "sample_scan.hpp" namespace "caststream" nogil:
    cdef cppclass Sample:
        vector[double] values
        const char* sequence
        int sequence_bytes
        int64_t step
        int64_t timestamp_ms
        cbool has_timestamp
        cbool end
        int32_t lacking
        NearMisses near
        void prepare(const NativeFields& fields)
        cbool has(int32_t target)
    vector[int32_t] fill(const NativeFields& fields, const float* last, Sample& sample)
    cbool scan_json(const char* text, size_t size, const NativeFields& fields, Sample& sample)
    cbool scan_msgpack(const char* data, size_t size, const NativeFields& fields, Sample& sample)


cdef class FieldList:
    cdef NativeFields native
    cdef readonly tuple fields    # as declared
    cdef readonly tuple may_lack  # names of those that a record may lack
