"""The fields of a task's samples, as the compiled scanner walks them."""

import math
import struct

MAX_FLOAT32 = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]


cdef class FieldList:
    """What a sample of a task holds, and where its numbers stand in what the model reads.

    Args:
        fields: as declared, in the order of the model's input.
        end: records of the task may end their sequence.
        booleans: true and false are 1 and 0.

    Raises:
        ValueError: a range that no float32 fits, a length below 1, an overlap of one number, a name that comes twice.
    """

    def __init__(self, fields, bint end=False, bint booleans=False):
        fields = tuple(fields)
        self.fields = fields
        self.may_lack = tuple([field.name for field in fields if field.missing == "hold"])
        self.native.booleans = booleans
        for number, field in enumerate(fields):
            _check(field)
            self._add(number, field)
        self.native.finish(end)
        texts = [self.native.names[number].text for number in range(self.native.names.size())]
        if twice := sorted({text.decode() for text in texts if texts.count(text) > 1}):
            raise ValueError(f"fields of a record need names of their own, {twice[0]!r} comes twice")

    def _add(self, int number, field):
        cdef FieldRule rule
        cdef FieldName name
        rule.overlap = field.overlap
        self.native.overlaps = self.native.overlaps or rule.overlap > 0
        rule.start = self.native.width + field.overlap
        rule.length = 0 if field.length is None else field.length
        rule.low, rule.high = field.low, field.high
        rule.needed = field.missing == "refuse"
        self.native.width = rule.start + max(rule.length, 1)
        self.native.needed += rule.needed
        self.native.rules.push_back(rule)
        for text in (field.name, *field.aliases):
            name.text, name.target = text.encode(), number
            self.native.names.push_back(name)

    @property
    def width(self):
        """Numbers of one sample as the model reads it, F."""
        return self.native.width

    @property
    def most_msgpack_bytes(self):
        """Bytes of the longest MessagePack value that the scanner looks at."""
        return self.native.most_msgpack_bytes()


def _check(field):
    if not -MAX_FLOAT32 <= field.low <= field.high <= MAX_FLOAT32 or not math.isfinite(field.high):
        raise ValueError(f"the range of {field.name} must lie within float32, got [{field.low}, {field.high}]")
    if field.length is not None and field.length < 1:
        raise ValueError(f"the length of {field.name} must be >= 1, got {field.length}")
    if field.overlap < 0 or (field.overlap and field.length is None):
        raise ValueError(f"the overlap of {field.name} must be >= 0, and 0 where it is one number, got {field.overlap}")
