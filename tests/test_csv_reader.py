"""What `send` and `import-csv` share: exports as people have them are read by both alike, or refused by both alike."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.csv.import_csv import ImportOptions, import_csv
from core.data.csv.names import parse_renamed
from core.errors import DataError, StartupError
from core.tasks.reading import shipped
from core.wire.records import SENSORS
from replay.line_names import LineNames
from tests.sinks import Sent

NAMEABLE = LineNames.of(shipped("casting")).nameable
HEADER = ",".join(["sequence", *SENSORS])
GOOD = ["heat-1,1.2,1520.5,150,200,25", "heat-1,1.25,1521.5,151,201,26"]
VALUES = [[1.2, 1520.5, 150.0, 200.0, 25.0], [1.25, 1521.5, 151.0, 201.0, 26.0]]


@dataclass
class Imported:
    """The result of `import-csv`: the sensors' values of each sample, and the text that the command printed."""

    values: list[list[float]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    error: str = ""


def sent(data: bytes, kind: str = "casting", **options: Any) -> Sent:
    return Sent(kind, data, **options)


def imported(data: bytes, folder: Path, **options: Any) -> Imported:
    read = Imported()
    (folder / "a.csv").write_bytes(data)
    try:
        done = import_csv(
            folder / "a.csv", folder / "a.h5", options=ImportOptions(**options), on_notice=read.notices.append
        )
    except DataError as error:
        read.error = str(error)
        return read
    with h5py.File(folder / "a.h5") as file:
        columns = [file[name][:].tolist() for name in SENSORS]
        read.values = [[round(value, 4) for value in row] for row in zip(*columns, strict=True)]
    read.bad = [(0, why) for why in done.left_out.named]
    return read


def lines(*texts: str, end: str = "\n") -> bytes:
    return "".join(text + end for text in texts).encode()


semicolons = lambda texts: [text.replace(",", ";") for text in texts]  # noqa: E731
German = ["heat-1;1,2;1.520,5;150;200;25,0", "heat-1;1,25;1.521,5;151;201;26"]


@pytest.mark.parametrize(
    "data",
    [
        lines(HEADER, *GOOD, end="\r"),
        lines(HEADER, *GOOD, end="\r\n"),
        lines("sep=;", *semicolons([HEADER, *GOOD])),
        lines('"sep=;"', *semicolons([HEADER, *GOOD]), end="\r\n"),
        lines("\ufeffsep=,", HEADER, *GOOD),
        lines(*semicolons([HEADER]), *German),
        lines(HEADER.upper(), *GOOD),
        lines(HEADER.replace("_", " ").title(), *GOOD),
        lines(HEADER, *(f"\ufeff{line}" for line in GOOD)),
        lines(HEADER, *(f"{line}," for line in GOOD)),
        lines(f"{HEADER},", *GOOD),
        lines(HEADER, *(f"{line},,, " for line in GOOD)),
        lines(HEADER, GOOD[0], HEADER, GOOD[1]),
        lines(HEADER, ",m/min,degC,mm,L/min,K", *GOOD),
        lines(HEADER, *GOOD, ",,,,,", '"","","","","",""', "\x1a"),
        HEADER.encode() + b"\n,m/min,\xb0C,,,\n" + lines(*GOOD),
        lines(HEADER, ",casting speed,,,,", ",m/min,,,,", *GOOD),
        lines("*Exported 01.03.2026", "[Data]", HEADER, *GOOD),
        lines(*semicolons(['"Remark, long";' + HEADER, *(f'"a ""b"", c";{line}' for line in GOOD)])),
        lines(HEADER.replace(",", "\t"), *(line.replace(",", "\t") for line in GOOD)).decode().encode("utf-16"),
        (HEADER + ",Größe\n" + "".join(f"{line},ü\n" for line in GOOD)).encode("cp1252"),
    ],
)
def test_exports_as_programs_write_them_are_read_by_both(data: bytes, tmp_path: Path) -> None:
    one, other = sent(data), imported(data, tmp_path)

    assert (one.error, one.bad, other.error, other.bad) == ("", [], "", [])
    assert one.values == VALUES
    assert other.values == VALUES


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"{HEADER},mold_level", "has the column mold_level twice"),
        (f"{HEADER},Mold Level", "has the column mold_level twice (mold_level, Mold Level)"),
        (
            HEADER.replace("mold_level", "Level"),
            "lacks the columns mold_level; it has sequence, casting_speed, mold_te",
        ),
        (HEADER.replace("mold_level", "Mold Level [mm]"), "--column mold_level='Mold Level [mm]'"),
        ("Tagname,TimeStamp,Value,DataQuality", "is of one tag per line: turn it into one sample per line"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_by_both(header: str, words: str, tmp_path: Path) -> None:
    data = lines(header, *GOOD)

    assert words in sent(data).error
    assert words in imported(data, tmp_path).error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"heat-1,1.2,1_520,150,200,25", "mold_temperature is '1_520': must be a number"),
        (b"heat-1,1.2,1520,Bad Input,200,25", "mold_level is 'Bad Input': must be a number"),
        (b"heat-1,1.2,1520,15\r0,200,25", "mold_level is '15\\r0': must be a number"),
        (b"heat-1,1.2,1520,150,200,2\0\0\0", "holds NUL bytes: its writer was interrupted"),
        (b"\0\0\0\0", "holds NUL bytes only"),
        (b"heat-1,1.2,1520,150,200,2\xff", "is not UTF-8: invalid start byte at byte 25"),
        (b'heat-1,1.2,1520,150,200,"25', "begins with a quote that is not closed"),
        (b"heat-1,1.2,1520,150", "has 4 cells, the header has 6"),
        (b"heat-1,1.2,1520,150,200,25,7", "has 7 cells, the header has 6"),
        (b"heat-1,1.2,1520,150,200," + b"9" * 1_000_000, "9999: must be a number within 1e+06"),
        (b"heat-1,1.2,1520,150,200," + b"9" * 1_100_000, "is longer than 1,048,576 bytes"),
        (b"heat-1,1.2,1520,150,200,1e7", "superheat is 1e7: must be a number within 1e+06"),
        (b"heat-1,1.2,1520,150,200,infinity", "must be a finite number"),
        (b"heat-1,1.2,1520,,200,25", "mold_level is empty"),
        (b"heat-1;1.2;1520;150;200;25", "has 1 cells, the header has 6"),
    ],
)
def test_a_bad_line_costs_itself_in_both(line: bytes, words: str, tmp_path: Path) -> None:
    data = b"\n".join([HEADER.encode(), GOOD[0].encode(), line, GOOD[1].encode()])

    one, other = sent(data), imported(data, tmp_path, skip_bad=True)

    assert one.values == other.values == VALUES
    assert [number for number, _ in one.bad] == [3]
    assert words in one.bad[0][1]
    assert f"line 3: {one.bad[0][1]}" == other.bad[0][1]
    assert f"line 3: {one.bad[0][1]}" in imported(data, tmp_path).error


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "heat-1;1;1.520;150;200;25",
            "mold_temperature is '1.520': 1.520 or 1520? Say it by --decimal point or --deci",
        ),
        ("heat-1;1,5;15.25;150;200;25", "has decimal points and decimal commas"),
    ],
)
def test_a_number_that_could_be_read_in_two_ways_is_refused_by_both(line: str, words: str, tmp_path: Path) -> None:
    data = lines(*semicolons([HEADER]), line)

    assert words in sent(data).bad[0][1]
    assert words in imported(data, tmp_path).error


@pytest.mark.parametrize(("decimal", "value"), [("point", 1.52), ("comma", 1520.0)])
def test_the_decimal_sign_can_be_said(decimal: str, value: float, tmp_path: Path) -> None:
    data = lines(*semicolons([HEADER]), "heat-1;1;1.520;150;200;25")

    assert [row[1] for row in sent(data, decimal=decimal).values] == [value]
    assert [row[1] for row in imported(data, tmp_path, decimal=decimal).values] == [value]


def test_points_part_thousands_once_the_file_has_shown_decimal_commas(tmp_path: Path) -> None:
    data = lines(*semicolons([HEADER]), "heat-1;1,2;1.520;150;200;25", "heat-1;1;1.521;150;200;25")

    assert [row[1] for row in sent(data).values] == [1520.0, 1521.0]
    assert [row[1] for row in imported(data, tmp_path).values] == [1520.0, 1521.0]


def test_columns_can_be_named(tmp_path: Path) -> None:
    plant = (
        'Heat,Casting Speed [m/min],Mold Temp [°C],"Mold Level, [mm]",Cooling Water [L/min],Superheat [K],mold_level'
    )
    names = plant.replace('"Mold Level, [mm]"', "Mold Level; [mm]").split(",")
    data = lines(plant.replace('"Mold Level, [mm]"', '"Mold Level; [mm]"'), *(f"{line},-1" for line in GOOD))
    renamed = parse_renamed(
        [f"{field}={name}" for field, name in zip(["sequence", *SENSORS], names, strict=False)],
        NAMEABLE,
    )

    one, other = sent(data, renamed=renamed), imported(data, tmp_path, renamed=renamed)

    assert one.values == other.values == VALUES
    assert one.notices == other.notices == ["columns without a meaning here: mold_level"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mold_level", "is not FIELD=NAME"),
        ("=x", "there is no field ''"),
        ("mould=x", "there is no field 'mould'; the fields are"),
        ("mold_level= ", "is not FIELD=NAME"),
    ],
)
def test_a_wrong_name_for_a_column_is_refused(text: str, words: str) -> None:
    with pytest.raises(StartupError, match=words):
        parse_renamed([text], NAMEABLE)


def test_fields_of_a_json_feed_may_change_their_names_among_themselves() -> None:
    renamed = {"mold_level": "mold_temperature", "mold_temperature": "superheat", "superheat": "mold_level"}
    line = {name: float(number) for number, name in enumerate(SENSORS)}

    (found,) = sent(json.dumps(line).encode(), renamed=renamed).values

    assert dict(zip(SENSORS, found, strict=True)) == line | {here: line[there] for here, there in renamed.items()}


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    renamed = {"step": "Nr"}

    assert "lacks the columns step ('Nr')" in sent(lines(HEADER, *GOOD), renamed=renamed).error
    assert "lacks the columns step ('Nr')" in imported(lines(HEADER, *GOOD), tmp_path, renamed=renamed).error


def test_what_is_doubtful_is_said_once_by_both(tmp_path: Path) -> None:
    data = lines(f"{HEADER},operator", *(f"1.23457E+11{line.removeprefix('heat-1')},Ann" for line in GOOD))

    for read in (sent(data), imported(data, tmp_path)):
        assert read.error == ""
        assert read.notices[0] == "columns without a meaning here: operator"
        assert "'1.23457E+11' looks like a long number that Excel has rounded" in read.notices[1]
        assert len(read.notices) == 2


def test_a_header_in_the_middle_with_other_columns_counts_from_there(tmp_path: Path) -> None:
    swapped = ",".join(["sequence", *reversed(SENSORS)])
    data = lines(HEADER, GOOD[0], swapped, "heat-1,26,201,151,1521.5,1.25")

    assert sent(data).values == VALUES
    assert imported(data, tmp_path).values == VALUES
    assert sent(data).notices == ["line 3 is a header again: it has other columns, which count from here on"]


# --- any bytes in one line

CSV = [b"stream,signal,c1,c2,c3,c4,step", *(b"good-%d,0.5,0,1,0,0,%d" % (step, step) for step in range(3))]
JSON = [
    b'{"stream": "good-%d", "signal": 0.5, "condition_vector": [0, 1, 0, 0], "step": %d}' % (n, n) for n in range(3)
]
ODD = [
    b"\r",
    b"\0",
    b"\xef\xbb\xbf",
    b'"',
    b"\xff",
    b"\xff\xfe",
    b"{",
    b"[",
    b",",
    b";",
    b"sep=;",
    b"1,5",
    b" ",
    b"x" * 2_000_000,
]


def hostile(good: Iterable[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, or a good line with odd bytes in it."""

    def put(parts: tuple[bytes, bytes, int, int]) -> bytes:
        line, odd, at, cut = parts
        return line[:at] + odd + line[at + cut :]

    odd = st.tuples(st.sampled_from(list(good)), st.sampled_from(ODD), st.integers(0, 60), st.integers(0, 5)).map(put)
    return (st.binary(max_size=40) | odd).map(lambda line: line.replace(b"\n", b"").replace(b"good", b"evil"))


@pytest.mark.parametrize("good", [CSV, JSON], ids=["csv", "json"])
@given(data=st.data())
@settings(max_examples=60)
def test_whatever_one_line_holds_the_others_are_sent_as_without_it(good: list[bytes], data: st.DataObject) -> None:
    line = data.draw(hostile(good[1:]))
    place = data.draw(st.integers(1 if good is CSV else 0, len(good)))

    read = sent(b"\n".join([*good[:place], line, *good[place:]]), "signal")

    alone = sent(b"\n".join(good), "signal")
    assert len(alone.records) == 3
    assert [record for record in read.keyed if record[0].startswith(b"good")] == alone.keyed


# --- JSON lines


def test_json_that_is_not_one_object_per_line_is_told_the_way() -> None:
    sample = {"stream": "s", "signal": 0.1, "condition_vector": [0, 1, 0, 0]}

    assert "one object on each line is needed: jq -c ." in sent(json.dumps(sample, indent=1).encode(), "signal").error
    assert "begins with [: one object on each line" in sent(json.dumps([sample, sample]).encode(), "signal").error
    assert "jq -c '.[]'" in sent(json.dumps([sample, sample], indent=1).encode(), "signal").error
    assert "leave out -v of mosquitto_sub" in sent(f"plant/7 {json.dumps(sample)}\n".encode() * 30, "signal").error


def test_the_rest_of_a_cut_line_before_the_first_object_costs_itself() -> None:
    read = sent(b'0, 0], "step": 3}\n' + b"\n".join(JSON), "signal")

    assert len(read.records) == 3
    assert read.bad == [(1, "is no JSON object")]


def test_what_programs_put_around_an_object_does_no_harm() -> None:
    read = sent(b"\x1e" + JSON[0] + b"\n" + JSON[1] + b"\0\n\n" + b"\xef\xbb\xbf" + JSON[2] + b"\r\n", "signal")

    assert (len(read.records), read.bad) == (3, [])


def test_fields_that_are_not_used_are_named_once_with_the_right_name() -> None:
    line = {"signal": 0.1, "condition_vector": [0, 1, 0, 0], "Step": 1, "timestampMs": 5, "seq": "a", "operator": "Ann"}
    read = sent(f"{json.dumps(line)}\n".encode() * 3, "signal")

    assert len(read.records) == 3
    assert read.notices == [
        "the field 'Step' is not used: is it meant as 'step'?",
        "the field 'timestampMs' is not used: is it meant as 'timestamp_ms'?",
        "the field 'seq' is not used: is it meant as 'sequence'?",
        "the field 'operator' is not used",
    ]


def test_lines_that_go_back_in_time_are_told_once() -> None:
    rows = [f"0.1,0,1,0,0,2026-03-01T08:00:{second:02d}Z" for second in (3, 2, 1, 0)]

    read = sent(lines("signal,c1,c2,c3,c4,timestamp", *rows), "signal")

    assert len(read.records) == 4
    assert read.notices == ["line 3 goes back in time: records are sent in the order of the lines"]


def test_strangers_fields_fill_no_memory_and_no_screen() -> None:
    feed = b"".join(b'{"signal": 0.1, "condition_vector": [0, 1, 0, 0], "x%d": 1}\n' % n for n in range(100))

    assert len(sent(feed, "signal").notices) == 20


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2026-03-01T08:00:00.250+01:00", 1_772_348_400_250),
        ("2026-03-01T08:00:00Z", 1_772_352_000_000),
        ("2026-03-01 08:00:00", 1_772_352_000_000),
        ("2026/03/01 08:00:00", 1_772_352_000_000),
        ("01.03.2026 8:00:00.5", 1_772_352_000_500),
    ],
)
@pytest.mark.parametrize("name", ["timestamp_ms", "timestamp"])
def test_times_in_iso_8601_become_milliseconds(name: str, text: str, time_ms: int) -> None:
    as_json = json.dumps({"signal": 0.1, "condition_vector": [0, 1, 0, 0], name: text, "step": 3.0})
    as_csv = f"signal,c1,c2,c3,c4,{name},step\n0.1,0,1,0,0,{text},3.0\n"

    for feed in (as_json, as_csv):
        (record,) = sent(feed.encode(), "signal").records
        assert (record["timestamp_ms"], record["step"]) == (time_ms, 3)
        assert isinstance(record["step"], int)
        assert "timestamp" not in record


def test_a_record_that_the_producer_would_not_take_is_a_bad_line() -> None:
    big = b'{"signal": 1, "condition_vector": [0, 1, 0, 0], "note": "%b"}\n' % (b"x" * 1_000_000)

    read = sent(big + JSON[0], "signal")

    assert len(read.records) == 1
    assert "makes a record of 1,000,0" in read.bad[0][1]
