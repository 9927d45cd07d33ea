"""Which partition a stream is in, as `core.partition` says."""

from core.partition import murmur2 as murmur2
from core.partition import partition_of as partition_of
