"""Compare published outputs and dead letters with the ones that the records require."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from confluent_kafka import Message

from core.audit.partition import AnyOutput, PartitionAudit
from core.audit.scope import NOT_JUDGED, NOTHING, ExpectedLetter
from core.errors import RecordError
from core.wire.codecs import Codec
from core.wire.output_types import output_type
from stream_app.headers import APP_ID, SOURCE_OFFSET, headers_of, number
from stream_app.letters.letter import Letter, letter_of
from stream_app.topics.moving import STATE_OFFSETS
from stream_app.verify.cut import VerifiedRange
from stream_app.verify.report import VerifyReport, at

TOLERANCE = 1e-5
"""The tolerance of outputs; relative above their scale (`core.audit.scales`), as float32 is."""


class _Check:
    """Takes the outputs or dead letters of a source partition, in order.

    Args:
        audit: of the source partition, finished.
        app_id: records that say they are another application's are passed over.
    """

    def __init__(self, audit: PartitionAudit, cut: VerifiedRange, app_id: str, report: VerifyReport) -> None:
        self._audit = audit
        self._cut = cut
        self._app_id = app_id.encode()
        self._report = report
        self._source = f"{cut.route.source}[{cut.partition}]"


class OutputCheck(_Check):
    """Takes the records of an output partition."""

    def __init__(self, audit: PartitionAudit, cut: VerifiedRange, app_id: str, report: VerifyReport) -> None:
        super().__init__(audit, cut, app_id, report)
        self._decode = Codec(output_type(cut.route.declaration)).decode
        self._seen = bytearray(len(audit))
        self._last: dict[bytes, int] = {}  # stream key -> the row of its latest output

    def take(self, message: Message) -> None:
        """Compare a record with what should stand there."""
        headers = dict(headers_of(message))
        key, chosen = message.key(), self._audit.scope.chosen
        if headers.get(APP_ID, self._app_id) != self._app_id or (chosen is not None and key not in chosen):
            return
        offset = number(headers.get(SOURCE_OFFSET))
        if offset is None:
            self._unexpected(message, "it has no header source-offset")
            return
        try:
            output = self._decode(message.value(), headers_of(message))
        except RecordError as error:
            self._unexpected(message, f"it cannot be read: {error}")
            return
        row = self._audit.row(offset, final := getattr(output, "final", False))
        if row == NOT_JUDGED or (final and self._came_before(key, offset, row)):
            return
        self._report.outputs += 1
        if row == NOTHING:
            self._unexpected(message, f"{_describe(output)}: nothing comes of source offset {offset}")
        else:
            self._compare(message, row, key, output)

    def _came_before(self, key: Any, offset: int, row: int) -> bool:
        """True if a final score is of a cast that was moved here: its last sample was in another partition, and its
        state has an offset right before the records to come.
        """
        if not isinstance(key, bytes) or (row >= 0 and self._audit.key(row) == key):
            return False
        came = self._audit.scope.came
        return came(key, offset) != came(key, offset + STATE_OFFSETS)

    def _unexpected(self, message: Message, why: str) -> None:
        self._report.add("unexpected", f"{at(message)}: {why}")

    def _compare(self, message: Message, row: int, key: Any, output: AnyOutput) -> None:
        report = self._report
        if problems := self._problems(row, key, output):
            what = _describe(self._audit.expected(row))
            report.add("differing", f"{at(message)}: {what}: {'; '.join(problems)}")
        if self._seen[row]:
            report.add("repeated", f"{at(message)}: {_describe(output)}")
            return
        self._seen[row] = 1
        last = self._last.get(key, -1)
        if row < last:
            report.add("out_of_order", f"{at(message)}: {_describe(output)}")
        self._last[key] = max(last, row)

    def _problems(self, row: int, key: Any, found: AnyOutput) -> list[str]:
        key_expected, off = self._audit.key(row), self._audit.differences(row, found)
        problems = [f"the key is {key!r}, expected {key_expected!r}"] if key != key_expected else []
        for difference in off.values():
            if difference < math.inf:
                self._report.max_abs_diff = max(self._report.max_abs_diff, difference)
        wrong = [name for name, difference in off.items() if difference > TOLERANCE]
        if wrong:
            expected = self._audit.expected(row)
            problems += [f"{name} is {getattr(found, name)!r}, expected {getattr(expected, name)!r}" for name in wrong]
        return problems

    def finish(self) -> None:
        """Count the missing outputs, after all have been read."""
        required, seen = (np.frombuffer(flags, np.uint8) for flags in (self._audit.required, self._seen))
        for row in np.flatnonzero((required > 0) & (seen == 0)).tolist():
            place = f"{self._source} offset {self._audit.offset(row)}"
            self._report.add("missing", f"{place}: {_describe(self._audit.expected(row))}")


class LetterCheck(_Check):
    """Takes the records of a dead-letters partition."""

    def __init__(self, audit: PartitionAudit, cut: VerifiedRange, app_id: str, report: VerifyReport) -> None:
        super().__init__(audit, cut, app_id, report)
        self._seen: set[int] = set()

    def take(self, message: Message) -> None:
        """Compare a dead letter with its record; skip those of other sources and applications."""
        found, report, chosen = letter_of(message), self._report, self._audit.scope.chosen
        offset, app_id = found.source_offset, dict(headers_of(message)).get(APP_ID, self._app_id)
        if found.topic != self._cut.route.source or app_id != self._app_id or offset is None:
            return
        if chosen is not None and found.key not in chosen:
            return
        if found.source_partition != self._cut.partition:
            report.add("dead_letters_unexpected", f"{at(message)}: it is of partition {found.source_partition}")
            return
        if not self._audit.is_judged(offset):
            return
        report.dead_letters += 1
        expected = self._audit.letter(offset)
        if expected is None:
            report.add("dead_letters_unexpected", f"{at(message)}: source offset {offset} can be used")
        elif problems := _letter_problems(expected, found):
            report.add("dead_letters_differing", f"{at(message)}: source offset {offset}: {'; '.join(problems)}")
        if expected is not None and offset in self._seen:
            report.add("dead_letters_repeated", f"{at(message)}: source offset {offset}")
        self._seen.add(offset)

    def finish(self) -> None:
        """Count the missing dead letters, after all have been read."""
        for offset, letter in self._audit.letters.items():
            if letter.required and offset not in self._seen:
                words = f"{self._source} offset {offset}: {letter.reason}, key {letter.key!r}"
                self._report.add("dead_letters_missing", words)


def _letter_problems(expected: ExpectedLetter, found: Letter) -> list[str]:
    problems = []
    if found.reason != expected.reason:
        problems.append(f"the reason is {found.reason}, expected {expected.reason}")
    if found.value_bytes is not None:  # cut, because the record was too large
        return problems
    if found.key != expected.key:
        problems.append("its key is not the record's")
    if not expected.holds(found.value):
        problems.append("its value is not the record's")
    return problems


def _describe(output: Any) -> str:
    final = ", final" if getattr(output, "final", False) else ""
    return f"stream {output.stream!r}, sequence {output.sequence!r}, step {output.step}{final}"
