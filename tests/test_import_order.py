"""In which order imported samples stand: by steps, by times, or as their lines do."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.csv.casts import CastSummary
from core.data.csv.import_csv import ImportOptions, import_csv
from core.errors import DataError
from core.wire.records import SENSORS

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
HEADER = ",".join(["sequence", *SENSORS])


def iso(second: float) -> str:
    return (START + timedelta(seconds=second)).isoformat()


def timed(rows: list[tuple[str, float]], name: str = "timestamp") -> str:
    """Lines whose first sensor tells their second."""
    return "\n".join([f"{name},{HEADER}", *(f"{iso(second)},{cast},{second},1,1,1,1" for cast, second in rows)])


class Imported:
    """The first sensor's values of each cast, and what was said."""

    def __init__(self, folder: Path, text: str, skip_bad: bool = False) -> None:
        (folder / "a.csv").write_text(text)
        self.notices: list[str] = []
        options = ImportOptions(skip_bad=skip_bad)
        done = import_csv(folder / "a.csv", folder / "a.h5", options=options, on_notice=self.notices.append)
        assert isinstance(done, CastSummary)
        self.done = done
        with h5py.File(folder / "a.h5") as file:
            spans = zip(file["sequence"].asstr(), file["cast_start"], file["cast_length"], strict=True)
            self.casts = {name: file[SENSORS[0]][start : start + length].tolist() for name, start, length in spans}


def refused(folder: Path, text: str, **options: bool) -> str:
    with pytest.raises(DataError) as raised:
        Imported(folder, text, **options)
    return str(raised.value)


@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_casts_that_run_side_by_side_are_told_apart_where_times_rise(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    rows = [(f"c{cast}", float(second)) for cast, length in enumerate(lengths) for second in range(length)]
    rows.sort(key=lambda row: (row[1], random.Random(f"{seed}{row}").random()))

    found = Imported(tmp_path_factory.mktemp("a"), timed(rows))

    names = list(dict.fromkeys(name for name, _ in rows))
    assert found.casts == {name: [second for each, second in rows if each == name] for name in names}
    assert list(found.casts) == names
    assert found.notices == []


@given(rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=2, max_size=20))
@settings(max_examples=50)
def test_a_file_that_is_newest_first_equals_the_same_file_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    ascending = sorted(rows, key=lambda row: row[1])
    folder = tmp_path_factory.mktemp("a")

    right, turned = Imported(folder, timed(ascending)), Imported(folder, timed(ascending[::-1]))

    assert right.casts == {name: [float(second) for each, second in ascending if each == name] for name in right.casts}
    assert list(right.casts) == list(dict.fromkeys(name for name, _ in ascending))
    if any(len(set(values)) > 1 for values in right.casts.values()):
        assert turned.casts == right.casts
        assert list(turned.casts) == list(right.casts)
        assert "the lines stand newest first: they were turned round" in turned.notices


def test_parts_of_a_file_that_are_each_in_order_are_put_in_order(tmp_path: Path) -> None:
    found = Imported(tmp_path, timed([("a", second) for second in (10, 11, 12, 5, 6, 7, 1)]))

    assert found.casts == {"a": [1, 5, 6, 7, 10, 11, 12]}


@pytest.mark.parametrize("seconds", [(1, 2, 3, 2, 4), (5, 4, 3, 4, 2, 1), (1, 2, 3, 2, 3, 4)])
def test_times_that_go_back_and_forward_are_refused(tmp_path: Path, seconds: tuple[int, ...]) -> None:
    said = refused(tmp_path, timed([("a", second) for second in seconds]))

    assert "the times of 'a' go back here and forward elsewhere: sort the file by time" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("name", ["timestamp_ms", "time", "Time Stamp"])
def test_every_column_of_times_decides(tmp_path: Path, name: str) -> None:
    rows = [("a", 3), ("a", 2)]

    assert Imported(tmp_path, timed(rows, name)).casts == {"a": [2, 3]}


@pytest.mark.parametrize(
    "times", [("1795450377694", "1795450377693"), ("0.002", "0.001"), ("02.01.2026 8:00", "01.01.2026 9:00:00")]
)
def test_numbers_and_german_dates_are_times_too(tmp_path: Path, times: tuple[str, str]) -> None:
    text = f"timestamp,{HEADER}\n{times[0]},a,2,1,1,1,1\n{times[1]},a,1,1,1,1,1"

    assert Imported(tmp_path, text).casts == {"a": [1, 2]}


def test_steps_decide_before_times(tmp_path: Path) -> None:
    text = f"timestamp,step,{HEADER}\n{iso(1)},1.0,a,2,1,1,1,1\n{iso(2)},0.0,a,1,1,1,1,1"

    assert Imported(tmp_path, text).casts == {"a": [1, 2]}


def test_times_in_another_form_are_named_and_change_nothing(tmp_path: Path) -> None:
    text = f"timestamp,{HEADER}\n03/01/2026 08:00:01,a,2,1,1,1,1\n03/01/2026 08:00:00,a,1,1,1,1,1"

    found = Imported(tmp_path, text)

    assert found.casts == {"a": [2, 1]}
    assert found.notices == [
        "the column timestamp is not used: '03/01/2026 08:00:01' is no time in ISO 8601; the order of the lines counts"
    ]


@pytest.mark.parametrize("cell", ["", "Bad Input", "2026-13-01"])
def test_a_line_without_its_time_is_a_bad_one(tmp_path: Path, cell: str) -> None:
    text = timed([("a", 1), ("a", 2)]) + f"\n{cell},a,3,1,1,1,1"

    assert f"line 4: timestamp is {cell!r}: must be a time in ISO 8601" in refused(tmp_path, text)
    assert Imported(tmp_path, text, skip_bad=True).casts == {"a": [1, 2]}


def test_times_of_another_rate_than_that_of_casts_are_told(tmp_path: Path) -> None:
    found = Imported(tmp_path, timed([("a", second / 10) for second in range(20)]))

    assert found.notices == ["by their times the samples come at 10 Hz: casts are taken at 1 Hz"]


def test_streams_that_use_the_same_names_are_told_apart(tmp_path: Path) -> None:
    rows = [("s1", "a", 1), ("s2", "a", 2), ("s1", "a", 3), ("s1", "b", 4)]
    lines = [f"{iso(second)},{stream},{cast},{second},1,1,1,1" for stream, cast, second in rows]

    found = Imported(tmp_path, "\n".join([f"timestamp,stream,{HEADER}", *lines]))

    assert found.casts == {"s1/a": [1, 3], "s2/a": [2], "b": [4]}


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), min_size=1, max_size=25))
@settings(max_examples=50)
def test_of_steps_that_come_twice_the_first_one_stays_where_bad_lines_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("a")
    text = "\n".join([f"step,{HEADER}", *(f"{step},{cast},{line},1,1,1,1" for line, (cast, step) in enumerate(steps))])

    found = Imported(folder, text, skip_bad=True)

    first = {(cast, step): line for line, (cast, step) in reversed(list(enumerate(steps)))}
    assert found.casts == {
        name: [float(line) for (cast, _), line in sorted(first.items()) if cast == name]
        for name in dict.fromkeys(cast for cast, _ in steps)
    }
    assert found.done.left_out.lines == len(steps) - len(first)


def test_lines_that_are_left_out_are_counted_and_named_with_their_casts(tmp_path: Path) -> None:
    good = [f"a,{value},1,1,1,1" for value in range(3)]
    bad = ["a,Bad Input,1,1,1,1"] * 8 + ["b,1,1"]

    done = Imported(tmp_path, "\n".join([HEADER, *good, *bad, "b,7,1,1,1,1"]), skip_bad=True).done

    assert (done.samples, done.left_out.lines, done.left_out.sequences) == (4, 9, ("a",))
    assert done.left_out.named[0] == "line 5: casting_speed is 'Bad Input': must be a number"
    assert len(done.left_out.named) == 5


def test_a_file_of_bad_lines_only_is_refused_all_the_same(tmp_path: Path) -> None:
    assert "holds no samples" in refused(tmp_path, f"{HEADER}\na,1", skip_bad=True)
