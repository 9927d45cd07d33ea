"""What the fetcher has passed over, and what it never saw."""

from __future__ import annotations

from aiokafka.structs import TopicPartition

from stream_app.kafka.coverage import Coverage

AT, OTHER = TopicPartition("source", 0), TopicPartition("source", 1)


def test_records_are_complete_from_where_the_last_ones_ended() -> None:
    coverage = Coverage()
    coverage.passed(AT, 3, 7)
    assert coverage.handed(AT, 7) == 3

    coverage.passed(AT, 7, 9)

    assert coverage.handed(AT, 9) == 7


def test_what_held_no_record_belongs_to_the_next_ones() -> None:
    coverage = Coverage()
    coverage.passed(AT, 0, 1)  # a marker
    coverage.passed(OTHER, 5, 6)
    coverage.passed(AT, 1, 2)  # another
    coverage.passed(AT, 2, 5)  # two records and two markers

    assert (coverage.handed(AT, 3), coverage.handed(OTHER, 6)) == (0, 5)

    assert coverage.behind(AT) == (3, 5)

    coverage.passed(AT, 5, 8)

    assert coverage.handed(AT, 8) == 3
    assert coverage.behind(AT) == (8, 8)


def test_of_what_a_seek_has_jumped_over_nothing_is_known() -> None:
    coverage = Coverage()
    coverage.passed(AT, 0, 1)
    coverage.passed(AT, 4, 6)
    assert coverage.handed(AT, 6) == 4

    coverage.passed(AT, 2, 3)  # back again

    assert coverage.handed(AT, 3) == 2
