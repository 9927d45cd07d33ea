"""Names of fields that are nearly right, found in a value that has been decoded before. See near_names.hpp."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


from core.native.fields cimport NearMisses


cdef extern from "near_names.hpp" namespace "caststream" nogil:
    unsigned near_field(const char* name, size_t size)
    NearMisses near_misses_json(const char* text, size_t size)

cdef tuple FIELDS = ("sequence", "step", "timestamp_ms", "end")
cdef int PLACES = 4


def near_field_of(bytes name):
    """The optional field whose name this nearly is, or is; None where it is none of that kind."""
    cdef unsigned field = near_field(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
    cdef int place
    for place in range(PLACES):
        if field == <unsigned>(1 << place):
            return FIELDS[place]
    return None


def near_names_json(bytes value):
    """The names in a JSON object that stand nearly for optional fields which it lacks, by name the field."""
    cdef NearMisses found = near_misses_json(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    cdef int place
    if found.fields == 0:
        return None
    return {
        found.names[place][: found.sizes[place]]: FIELDS[place]
        for place in range(PLACES)
        if found.fields & (1 << place)
    }
