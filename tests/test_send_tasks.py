"""Lines of any task into records: fields, arrays, aliases, ranges and missing values as its declaration has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tasks.declaration import Declaration
from core.tasks.reading import declare, shipped
from replay.line_names import LineNames
from tests.sinks import Sent

PUMP = {
    "vibration": {"length": 2, "alias": ["vib"], "unit": "mm/s", "range": [-200, 200]},
    "load": {"missing": "hold", "alias": ["power"], "range": [0, 100]},
}


def task_of(fields: dict[str, Any], kind: str = "step") -> Declaration:
    values = {"name": "pump", "kind": kind, "fields": fields, "model": {"file": "pump.onnx"}}
    return declare(Path("pump.toml"), values, need_files=False)


def sent(*lines: str, fields: dict[str, Any] | None = None, **options: Any) -> Sent:
    return Sent(task_of(fields or PUMP), "".join(f"{line}\n" for line in lines).encode(), **options)


def test_json_lines_go_as_they_are_under_every_name_of_a_field() -> None:
    lines = (
        '{"vibration": [1.5, -2], "load": 40, "step": 7, "sequence": "run", "end": true}',
        '{"vib": [1, true], "power": null}',
    )

    found = sent(*lines)

    assert (found.bad, found.notices) == ([], [])
    assert found.records == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"vibration": [1, 300]}', "vibration[1] is 300: must be within -200 and 200 mm/s"),
        ('{"vibration": [1]}', "vibration has 1 numbers: 2 are needed"),
        ('{"load": 3}', "vibration is missing"),
        ('{"vibration": [1, 2], "load": 101}', "load is 101: must be within 0 and 100"),
        ('{"vibration": [1, "2"]}', 'vibration[1] is "2": a number in quotes'),
    ],
)
def test_a_bad_line_costs_that_line_alone(line: str, why: str) -> None:
    found = sent('{"vibration": [1, 2], "step": 0}', line, '{"vibration": [3, 4], "step": 2}')

    assert [record["step"] for record in found.records] == [0, 2]
    ((number, said),) = found.bad
    assert number == 2
    assert why in said


def test_a_csv_has_an_array_in_its_columns_and_an_empty_cell_is_left_out_where_it_may() -> None:
    found = sent("step;load;vibration_1;Vibration 2", "0;40;1,5;-2", "1;;0,5;3", "2;nan;1;2", "3;40;;2", "4;40;-201;2")

    assert found.records == [
        {"step": 0, "vibration": [1.5, -2.0], "load": 40.0},
        {"step": 1, "vibration": [0.5, 3.0]},
        {"step": 2, "vibration": [1.0, 2.0]},
    ]
    assert [number for number, _ in found.bad] == [5, 6]
    assert "vibration_1 is empty" in found.bad[0][1]
    assert "vibration[0] is -201.0: must be within -200 and 200 mm/s" in found.bad[1][1]


def test_columns_of_a_field_that_may_be_missing_may_be_missing_too() -> None:
    found = sent("vibration_1,vibration_2", "1,2")

    assert found.records == [{"vibration": [1.0, 2.0]}]


@pytest.mark.parametrize(
    ("lines", "records"),
    [
        (("vib_1,vib_2,power", "1,2,3"), [{"vibration": [1.0, 2.0], "load": 3.0}]),
        (("power,vibration_1,vibration_2,load", "9,1,2,3"), [{"vibration": [1.0, 2.0], "load": 3.0}]),
    ],
)
def test_an_alias_names_columns_where_none_has_the_fields_own_name(lines: Any, records: Any) -> None:
    assert sent(*lines).records == records


HELD = {"a": {"missing": "hold"}, "b": {"missing": "hold", "length": 2}}


def test_an_array_is_missing_as_a_whole_or_not_at_all() -> None:
    found = sent("a,b_1,b_2,step", "1,,,0", ",2,3,1", "1,2,,2", ",,,3", fields=HELD)

    assert found.records == [{"step": 0, "a": 1.0}, {"step": 1, "b": [2.0, 3.0]}, {"step": 3}]
    assert [number for number, _ in found.bad] == [4]
    assert "b_2 is empty, and b_1 of the same field is not" in found.bad[0][1]
    assert "lacks the columns b_2" in sent("a,b_1,step", "1,2,3", fields=HELD).error


def test_a_task_whose_fields_may_all_be_missing_needs_a_header_with_one_and_skips_empty_lines() -> None:
    found = sent("Export of the pumps", "step,a", ",", "0,1", "1,", fields=HELD)

    assert found.records == [{"step": 0, "a": 1.0}, {"step": 1}]
    assert found.bad == []


def test_a_range_may_be_wider_than_that_of_a_field_without_one() -> None:
    found = sent("flow", "5e8", "2e9", "1e400", fields={"flow": {"range": [0, 1e9], "unit": "L/h"}})

    assert found.records == [{"flow": 5e8}]
    assert "flow is 2000000000.0: must be within 0 and 1000000000 L/h" in found.bad[0][1]
    assert "flow is 1e400" in found.bad[1][1]


@pytest.mark.parametrize("other", ["signal", "raw"])
def test_a_field_that_was_given_another_name_has_no_other(other: str) -> None:
    line = '{"%s": 1, "condition_vector": [1, 0, 0, 0], "step": %d}\n'
    data = (line % ("filtered", 0) + line % (other, 1)).encode()

    found = Sent(shipped("signal"), data, renamed={"signal": "filtered"})

    assert [(record["step"], record["signal"]) for record in found.records] == [(0, 1)]
    assert found.bad[0][0] == 2
    assert "signal is missing: there is no 'filtered', which --column names" in found.bad[0][1]


def test_an_alias_is_no_way_around_another_name_either() -> None:
    renamed = {"vibration": "v", "load": "w"}

    found = sent('{"v": [1, 2], "w": 3}', '{"vib": [1, 2], "w": 3}', '{"v": [1, 2], "power": 3}', renamed=renamed)

    assert found.records == [{"vibration": [1, 2], "load": 3}, {"vibration": [1, 2]}]
    assert [number for number, _ in found.bad] == [2]
    assert found.notices == ["a line has no 'w', which --column names: taken without load"]


def test_a_time_that_was_given_another_name_comes_from_there_alone() -> None:
    line = '{"vibration": [1, 2], "%s": "2026-01-01T00:00:00Z"}'

    found = sent(line % "at", line % "timestamp", renamed={"timestamp_ms": "at"})

    assert [record.get("timestamp_ms") for record in found.records] == [1_767_225_600_000, None]


def test_a_name_that_means_nothing_in_this_form_is_told() -> None:
    as_csv = sent("vibration_1,vibration_2", "1,2", renamed={"vibration": "v"})
    as_json = sent('{"vibration": [1, 2]}', renamed={"vibration_1": "v"})

    assert "a CSV has vibration in columns; name those: vibration_1, vibration_2" in as_csv.notices[0]
    assert "JSON lines have it in the field vibration" in as_json.notices[0]
    assert as_csv.records == as_json.records == [{"vibration": [1, 2]}]


def test_names_for_columns_are_those_of_fields_and_of_their_columns() -> None:
    names = LineNames.of(task_of(PUMP)).nameable

    assert {"vibration", "vibration_1", "vibration_2", "load", "stream", "step", "end"} <= set(names)
    assert "end" not in LineNames.of(shipped("signal")).nameable


NUMBERS = st.integers(-1000, 1000).map(lambda number: number / 8)


@st.composite
def feeds(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Fields and samples of them: numbers, arrays, some of which may be missing."""
    names = draw(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4, unique=True))
    fields: dict[str, Any] = {}
    for name in names:
        fields[name] = {"length": draw(st.integers(1, 3))} if draw(st.booleans()) else {}
        fields[name] |= {"missing": "hold"} if draw(st.booleans()) else {}
    samples = []
    for step in range(draw(st.integers(1, 4))):
        sample: dict[str, Any] = {"step": step}
        for name, keys in fields.items():
            if "missing" not in keys or draw(st.booleans()):
                length = keys.get("length")
                sample[name] = draw(st.lists(NUMBERS, min_size=length, max_size=length) if length else NUMBERS)
        samples.append(sample)
    return fields, samples


@given(feeds(), st.randoms())
def test_a_csv_gives_the_records_that_json_lines_give(feed: Any, random: Any) -> None:
    fields, samples = feed
    columns = {
        name if "length" not in keys else f"{name}_{i + 1}": (name, i)
        for name, keys in fields.items()
        for i in range(keys.get("length", 1))
    }
    order = [*columns, "step"]
    random.shuffle(order)

    def cell(sample: dict[str, Any], column: str) -> str:
        name, place = columns.get(column, (column, 0))
        held = sample.get(name, "")
        return str(held[place] if isinstance(held, list) else held)

    rows = [",".join(cell(sample, column) for column in order) for sample in samples]

    from_csv = sent(",".join(order), *rows, fields=fields)
    from_json = sent(*map(json.dumps, samples), fields=fields)

    assert (from_csv.bad, from_json.bad) == ([], [])
    assert from_csv.records == from_json.records == samples
