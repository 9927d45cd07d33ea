"""The partition of a stream is the one that Kafka's own clients choose."""

import pytest

from core.wire.partition import murmur2, partition_of


# The values with which Apache Kafka tests its partitioner (UtilsTest.testMurmur2), as Java's signed integers.
@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafka(data, signed):
    assert signed % 2**32 == murmur2(data)
    assert (signed & 0x7FFFFFFF) % 7 == partition_of(data, 7)
