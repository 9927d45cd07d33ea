"""Samples of any task, read by the full decoder and by the compiled scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import RecordError
from core.native.fields import FieldList
from core.native.outputs import NamedOutputs
from core.native.records import Record, Records
from core.native.signals import SignalBatch, SignalTurn
from core.native.streams import SignalStream
from core.tasks.declaration import Field
from core.wire.codecs import SampleCodec
from core.wire.outputs import PREDICTION
from core.wire.sample_types import block_of, lacked, sample_type

WRITER = NamedOutputs(PREDICTION, "json", "0123456789ab")
STEP, OFFSET, TIME = 6, 5, 1_000


@dataclass(frozen=True)
class Form:
    """The samples of a task: its fields, and whether they may end a sequence."""

    fields: tuple[Field, ...]
    has_end: bool = False
    booleans: bool = False

    def codec(self) -> SampleCodec[Any]:
        return SampleCodec(sample_type("Sample", self.fields, self.has_end), self.fields, self.booleans)

    def native(self) -> FieldList:
        return FieldList(self.fields, self.has_end, self.booleans)


def taken(
    form: Form, value: bytes, headers: Any, sequence: str = "", step: int = STEP
) -> tuple[SignalStream, SignalTurn]:
    """A stream that stood at ``STEP``, after a turn with a value; the turn has taken it or not."""
    native, stream, chunk = form.native(), SignalStream(0, b"a", 1), Records(0)
    stream.offset, stream.append_ms, stream.step, stream.sequence = OFFSET, TIME, step, sequence
    stream.sample = before(native.width)
    chunk.add(Record(0, OFFSET + 1, TIME, b"a", value, headers))
    batch = SignalBatch(WRITER, native.width)
    turn = SignalTurn(1, batch, native, 1, 10**9, lambda record: None, lambda stream: None)
    turn.take(chunk, {b"a": stream}, [])
    return stream, turn


def before(width: int) -> tuple[float, ...]:
    """The sample before: every number of it another one."""
    return tuple(1000.0 + place for place in range(width))


def bits(numbers: Sequence[float]) -> list[int]:
    return np.array(numbers, np.float32).view(np.uint32).tolist()  # 0.0 and -0.0 are equal, and not the same


def assert_scanner_agrees(form: Form, codec: SampleCodec[Any], value: bytes, headers: Any) -> bool:
    """What the scanner takes the decoder takes too, and reads the same; the rest is left alone. True: it was taken."""
    try:
        sample = codec.decode(value, headers)
    except RecordError:
        sample = None
    sequence = (sample.sequence if sample is not None else None) or ""
    step = STEP if sample is None or sample.step is None else sample.step - 1
    stream, turn = taken(form, value, headers, sequence, step)
    last = before(form.native().width)
    if not turn.processed:
        assert (stream.offset, stream.sample) == (OFFSET, last), "left alone, but changed"
        return False
    assert sample is not None, "taken, and the decoder refuses it"
    assert bits(stream.sample) == bits(block_of(sample, form.fields, last))
    assert stream.timestamp_ms == (TIME if sample.timestamp_ms is None else sample.timestamp_ms)
    assert not getattr(sample, "end", False)
    assert turn.held == dict.fromkeys(lacked(sample, form.native().may_lack), 1)
    return True
