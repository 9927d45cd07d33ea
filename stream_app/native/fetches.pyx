"""Fetch requests over partitions of an assignment, and their answers, as they stand on the wire: version 11.

Most partitions of an answer have nothing to tell. aiokafka makes some ten objects of each; here an answer gives only
those that have records or an error. The format: https://kafka.apache.org/protocol
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.string cimport memcmp, memcpy
from libcpp.vector cimport vector


cdef extern from "byte_order.hpp" namespace "caststream" nogil:
    T load[T](const char* at)
    void store[T](char* at, T number)
    char* put[T](char* at, T number)


cdef enum:
    API = 1
    VERSION = 11
    NOBODY = -1  # a replica, a leader's epoch, a start of the log, a session's epoch: none is named

cdef enum:  # bytes of parts of fixed size
    HEAD = 14  # size, API, version, number of the request, length of the client's name
    LIMITS = 29
    PARTITION = 28
    END = 6
    FETCHED_PARTITION = 34
    ABORTED = 16


cdef class LogPlace:
    """A partition of an assignment that is fetched.

    Args:
        at: aiokafka's ``TopicPartition``.
        state: aiokafka's ``TopicPartitionState``.
    """

    cdef readonly object at, state
    cdef public object leader  # node, None or below 0: unknown
    cdef bytes topic
    cdef int32_t number

    def __init__(self, at, state):
        self.at, self.state, self.leader = at, state, None
        self.topic, self.number = at[0].encode(), at[1]


def ready_by_node(places, set in_flight):
    """The places that may be fetched now, by node; None where one needs something else first: a leader, a position."""
    cdef dict found = {}
    cdef LogPlace place
    for place in places:
        if place.leader is None or place.leader < 0 or place.state._paused or place.state._position is None:
            return None
        if place.leader not in in_flight:
            if place.leader not in found:
                found[place.leader] = []
            (<list>found[place.leader]).append(place)
    return found


cdef struct Cursor:
    const char* at
    const char* end


cdef struct Fetched:
    Py_ssize_t place
    int16_t error
    int64_t highwater, stable
    const char* aborted
    int32_t aborted_count
    const char* records
    int32_t size


cdef class Fetch:
    """A request for the records of some places, from where they stand now.

    Args:
        places: in the order in which they are asked for, as far as topics allow.
        least: bytes for which the broker waits.
        most: bytes of the whole answer.
        most_of_place: bytes of a partition.
        isolation: aiokafka's isolation level.
    """

    cdef list places  # topic by topic
    cdef vector[int64_t] offsets
    cdef readonly int32_t least, most, most_of_place
    cdef readonly int isolation
    cdef public int32_t max_wait_ms

    def __init__(self, list places, int32_t least, int32_t most, int32_t most_of_place, int isolation):
        cdef dict by_topic = {}
        cdef LogPlace place
        for place in places:
            if place.topic not in by_topic:
                by_topic[place.topic] = []
            (<list>by_topic[place.topic]).append(place)
        self.places = [place for of_topic in by_topic.values() for place in of_topic]
        for place in self.places:
            self.offsets.push_back(place.state._position)
        self.least, self.most, self.most_of_place, self.isolation = least, most, most_of_place, isolation
        self.max_wait_ms = 0

    def __len__(self):
        return len(self.places)

    @property
    def topics(self):
        """What is asked for, in the form of aiokafka's requests: topic, its partitions with offset and most bytes."""
        cdef dict found = {}
        cdef LogPlace place
        cdef Py_ssize_t i
        for i, place in enumerate(self.places):
            found.setdefault(place.at[0], []).append((place.number, self.offsets[i], self.most_of_place))
        return list(found.items())

    def is_stale(self):
        """True if a place stands elsewhere by now: the request would hold up the next one."""
        cdef Py_ssize_t i
        for i in range(len(self.places)):
            if not self.stands(i):
                return True
        return False

    cdef bint stands(self, Py_ssize_t i) except -1:
        position = (<LogPlace>self.places[i]).state._position
        return position is not None and position == self.offsets[i]

    # On the wire.

    def write(self, int32_t number, str client_id):
        """Return the request with its header and size, as it is sent."""
        cdef bytes client = client_id.encode(), topic = None
        cdef LogPlace place
        cdef Py_ssize_t i, size = HEAD + len(client) + LIMITS + END
        cdef int32_t topics = 0
        for place in self.places:
            if place.topic is not topic and place.topic != topic:
                topic = place.topic
                size += 2 + len(topic) + 4
                topics += 1
            size += PARTITION
        message = PyBytes_FromStringAndSize(NULL, size)
        cdef char* at = PyBytes_AS_STRING(message)
        cdef char* counted = NULL
        at = put[int32_t](at, <int32_t>(size - 4))
        at = put[int16_t](at, API)
        at = put[int16_t](at, VERSION)
        at = put[int32_t](at, number)
        at = put_name(at, client)
        at = put[int32_t](at, NOBODY)
        at = put[int32_t](at, self.max_wait_ms)
        at = put[int32_t](at, self.least)
        at = put[int32_t](at, self.most)
        at = put[int8_t](at, <int8_t>self.isolation)
        at = put[int32_t](at, 0)
        at = put[int32_t](at, NOBODY)
        at = put[int32_t](at, topics)
        topic = None
        for i, place in enumerate(self.places):
            if place.topic is not topic and place.topic != topic:
                topic = place.topic
                at = put_name(at, topic)
                counted = at
                at = put[int32_t](at, 0)
            store[int32_t](counted, load[int32_t](counted) + 1)
            at = put[int32_t](at, place.number)
            at = put[int32_t](at, NOBODY)
            at = put[int64_t](at, self.offsets[i])
            at = put[int64_t](at, NOBODY)
            at = put[int32_t](at, self.most_of_place)
        at = put[int32_t](at, 0)
        put[int16_t](at, 0)
        return message

    def read(self, frame):
        """Return the answer as it came: `take` reads it."""
        return frame

    def take(self, const unsigned char[::1] frame, now_ms):
        """Note how far the logs go, and return what is to be done.

        Places that were sought elsewhere since are left out.

        Returns:
            The error of the whole request, and for each place with an error or records: the place, its offset, its
            error, its batches, and the aborted transactions.

        Raises:
            ValueError: the answer is cut off, or tells of a partition that was not asked for. Nothing was noted.
        """
        cdef vector[Fetched] found
        cdef Fetched one
        cdef LogPlace place
        cdef list todo = []
        cdef int16_t error = self.parse(<const char*>&frame[0] if len(frame) else NULL, len(frame), found)
        for one in found:
            if not self.stands(one.place):
                continue
            place = self.places[one.place]
            if not one.error:
                state = place.state
                state.highwater, state.lso, state.timestamp = one.highwater, one.stable, now_ms
            if one.error or one.size > 0:
                records = PyBytes_FromStringAndSize(one.records, max(one.size, 0))
                todo.append((place, self.offsets[one.place], one.error, records, aborted_of(one)))
        return error, todo

    cdef int16_t parse(self, const char* start, Py_ssize_t size, vector[Fetched]& found) except? -1:
        cdef Cursor cursor = Cursor(start, start + size)
        cdef Fetched one
        cdef int32_t topic, partition, topics, partitions, name_size
        cdef const char* name
        cdef Py_ssize_t last = -1
        take(&cursor, 8)  # number of the request, throttle time
        cdef int16_t error = load[int16_t](take(&cursor, 2))
        take(&cursor, 4)  # session
        topics = load[int32_t](take(&cursor, 4))
        for topic in range(topics):
            name_size = load[int16_t](take(&cursor, 2))
            name = take(&cursor, name_size)
            partitions = load[int32_t](take(&cursor, 4))
            for partition in range(partitions):
                last = one.place = self.place_of(name, name_size, load[int32_t](take(&cursor, 4)), last)
                read_partition(&cursor, &one)
                found.push_back(one)
        return error

    cdef Py_ssize_t place_of(self, const char* topic, int32_t size, int32_t number, Py_ssize_t last) except -1:
        """The place of a partition of the answer, looked for behind the last one: brokers keep to the order."""
        cdef Py_ssize_t i, at, count = len(self.places)
        cdef LogPlace place
        for i in range(count):
            at = (last + 1 + i) % count
            place = <LogPlace>self.places[at]
            if (
                place.number == number
                and PyBytes_GET_SIZE(place.topic) == size
                and not memcmp(PyBytes_AS_STRING(place.topic), topic, size)
            ):
                return at
        name = topic[:size].decode("utf-8", "replace")
        raise ValueError(f"the answer tells of {name}[{number}], which was not asked for")


cdef const char* take(Cursor* cursor, Py_ssize_t size) except NULL:
    """The next bytes; the cursor goes behind them."""
    cdef const char* at = cursor.at
    if size < 0 or size > cursor.end - at:
        raise ValueError("the answer to a fetch is cut off")
    cursor.at += size
    return at


cdef int read_partition(Cursor* cursor, Fetched* one) except -1:
    cdef const char* at = take(cursor, FETCHED_PARTITION - 4)  # its number was read
    one.error, one.highwater, one.stable = load[int16_t](at), load[int64_t](at + 2), load[int64_t](at + 10)
    one.aborted_count = load[int32_t](at + 26)
    one.aborted = take(cursor, <Py_ssize_t>max(one.aborted_count, 0) * ABORTED)
    take(cursor, 4)  # the replica to read from
    one.size = load[int32_t](take(cursor, 4))
    one.records = take(cursor, max(one.size, 0))
    return 0


cdef aborted_of(Fetched one):
    """Producers and first offsets of aborted transactions; None: not told."""
    cdef int32_t i
    if one.aborted_count < 0:
        return None
    return [
        (load[int64_t](one.aborted + i * ABORTED), load[int64_t](one.aborted + i * ABORTED + 8))
        for i in range(one.aborted_count)
    ]


cdef inline char* put_name(char* at, bytes name) noexcept:
    at = put[int16_t](at, <int16_t>PyBytes_GET_SIZE(name))
    memcpy(at, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
    return at + PyBytes_GET_SIZE(name)
