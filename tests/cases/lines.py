"""CSV and lines as programs export them: each read as it was meant, or refused by a line that names the way."""

from __future__ import annotations

import json

from tests.cases.case import case, expect
from tests.cases.room import Ran, Room
from tests.sinks import Sent

SENSORS = ("casting_speed", "mold_temperature", "mold_level", "cooling_water_flow", "superheat")
HEADER = ",".join(("sequence", *SENSORS, "label"))


def _rows(count: int = 6, name: str = "heat-1") -> list[str]:
    return [f"{name},{1.2 + step / 1000:.4f},{1520 + step / 4:.2f},150.25,200.5,25.125,0" for step in range(count)]


def _text(*lines: str, end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def _import(room: Room, data: bytes, *options: str) -> tuple[Ran, dict[str, list[list[float]]]]:
    """How `import-csv` ended, and the samples of each cast."""
    import h5py

    folder = room.folder()
    (folder / "a.csv").write_bytes(data)
    ran = room.caststream("import-csv", folder / "a.csv", folder / "o.h5", *options)
    casts: dict[str, list[list[float]]] = {}
    if ran.status == 0:
        with h5py.File(folder / "o.h5") as file:
            columns = [file[name][:].round(4).tolist() for name in SENSORS]
            rows = [[round(value, 4) for value in row] for row in zip(*columns, strict=True)]
            for name, start, length in zip(
                file["sequence"].asstr(), file["cast_start"], file["cast_length"], strict=True
            ):
                casts[name] = rows[start : start + length]
    else:
        expect(not (folder / "o.h5").exists(), "a file was written all the same")
    return ran, casts


def _read_by_both(room: Room, data: bytes, right: list[list[float]] | None = None) -> str:
    """Both commands take all samples, and the same ones."""
    wanted = right or [[float(cell) for cell in row.split(",")[1:6]] for row in _rows()]
    ran, casts = _import(room, data)
    expect([row for rows in casts.values() for row in rows] == wanted, f"import-csv: {ran.said}")
    sent = Sent("casting", data)
    expect(sent.values == wanted and not sent.bad, sent.said)
    return f"both: {len(wanted)} samples; {ran.said.removeprefix('status 0: ')}"


def _refused_by_both(room: Room, data: bytes, words: str) -> str:
    """Both commands name what is wrong; `send` sends the other lines."""
    ran, _ = _import(room, data)
    expect(ran.status == 2 and words in ran.err, f"import-csv: {ran.said}")
    sent = Sent("casting", data)
    expect(words in sent.error or any(words in why for _, why in sent.bad), sent.said)
    return f"status 2: {words}"


@case("data-15", tried="a recorded signal without a target, as CSV", before="there was no import of signals")
def signals_can_be_imported(room: Room) -> str:
    import h5py

    folder = room.folder()
    rows = [f"2026-03-01T08:00:00.{step * 4:03d}Z;{step},5;0;1;0;0" for step in range(50)]
    (folder / "a.csv").write_bytes(_text("timestamp;signal;c1;c2;c3;c4", *rows))
    ran = room.caststream("import-csv", folder / "a.csv", folder / "o.h5")
    expect(ran.status == 0, ran.said)
    with h5py.File(folder / "o.h5") as file:
        right = file["mixed_signals"][0].tolist() == [step + 0.5 for step in range(50)]
        expect(right and "target_signals" not in file and b"250.0" in file["metadata"][()], f"holds {list(file)}")
    return ran.said


@case("data-30", tried="lines that end with CR only", before="status 1: unexpected Error: new-line character seen")
def cr_only(room: Room) -> str:
    return _read_by_both(room, _text(HEADER, *_rows(), end="\r"))


@case("data-32", tried="a column that is there twice", before="send took the last one; import-csv refused")
def column_twice(room: Room) -> str:
    return _refused_by_both(room, _text(f"{HEADER},mold_level", *(f"{row},0" for row in _rows())), "mold_level twice")


@case("data-33", tried="Excel's line sep=;", before="the header lacks all columns")
def sep_hint(room: Room) -> str:
    return _read_by_both(room, _text("sep=;", *(row.replace(",", ";") for row in (HEADER, *_rows())), end="\r\n"))


@case("data-34", tried="semicolons and decimal commas", before="refused, by send without a hint")
def decimal_comma(room: Room) -> str:
    return _read_by_both(room, _text(*(row.replace(",", ";").replace(".", ",") for row in (HEADER, *_rows()))))


@case("data-35", tried="decimal commas, points between thousands", before="1.520 was taken for 1.52")
def german_thousands(room: Room) -> str:
    data = _text(HEADER.replace(",", ";"), "heat-1;1,2;1.520;150;200;25;0", "heat-1;1;1.520;150;200;25;0")
    return _read_by_both(room, data, [[1.2, 1520.0, 150.0, 200.0, 25.0], [1.0, 1520.0, 150.0, 200.0, 25.0]])


@case("data-35b", tried="1.520 between semicolons, and nothing that shows what it means", before="taken for 1.52")
def german_thousands_only(room: Room) -> str:
    data = _text(HEADER.replace(",", ";"), *["heat-1;1;1.520;150;200;25;0"] * 3)
    ran, casts = _import(room, data, "--decimal", "comma")
    expect(casts == {"heat-1": [[1.0, 1520.0, 150.0, 200.0, 25.0]] * 3}, ran.said)
    return _refused_by_both(room, data, "mold_temperature is '1.520': 1.520 or 1520?")


@case("data-36", tried="1_520 for a number", before="taken for 1520")
def underscore(room: Room) -> str:
    return _refused_by_both(room, _text(HEADER, "heat-1,1.2,1_520,150,200,25,0"), "'1_520': must be a number")


@case(
    "data-37", tried="an export that is newest first, with a column timestamp", before="the cast was stored backwards"
)
def newest_first(room: Room) -> str:
    timed = [f"2026-03-01T08:00:{second:02d}Z,{row}" for second, row in enumerate(_rows())]
    turned, casts = _import(room, _text(f"timestamp,{HEADER}", *timed[::-1]))
    _, right = _import(room, _text(f"timestamp,{HEADER}", *timed))
    expect(casts == right and len(right["heat-1"]) == 6, turned.said)
    expect("newest first: they were turned round" in turned.err, turned.said)
    mixed, _ = _import(room, _text(f"timestamp,{HEADER}", *timed[:4], timed[1], timed[5]))
    expect(mixed.status == 2 and "sort the file by time" in mixed.err, mixed.said)
    return turned.said


@case("data-38", tried="heat numbers that Excel has rounded", before="two heats became one, without a word")
def excel_heat_numbers(room: Room) -> str:
    data = _text(HEADER, *_rows(3, "1.23457E+11"))
    ran, _ = _import(room, data)
    sent = Sent("casting", data)
    expect(ran.status == 0 and "Excel has rounded" in ran.err, ran.said)
    expect(len(sent.notices) == 1 + ("label" in HEADER) and "Excel has rounded" in sent.notices[-1], sent.said)
    return ran.said


@case("data-39", tried="a historian's export, one tag per line", before="the header lacks all columns")
def historian_tall(room: Room) -> str:
    tags = [f"CC1.{name.upper()},03/01/2026 08:00:00,1.5,Good" for name in SENSORS]
    data = _text("*Exported 01.03.2026", "[Data]", "Tagname,TimeStamp,Value,DataQuality", *tags)
    return _refused_by_both(room, data, "one tag per line: turn it into one sample per line")


@case("data-40", tried="digital states among the values", before="one such line stopped all")
def digital_states(room: Room) -> str:
    bad = ["heat-1,1.2,1520,Bad Input,200,25,0", "heat-1,1.2,No Data,150,200,25,0"]
    data = _text(HEADER, *_rows(3), *bad, *_rows(3))
    refused, _ = _import(room, data)
    expect(refused.status == 2 and "--skip-bad" in refused.err, refused.said)
    ran, casts = _import(room, data, "--skip-bad")
    expect(len(casts["heat-1"]) == 6 and "skipped 2 lines that cannot be used, of heat-1" in ran.err, ran.said)
    sent = Sent("casting", data)
    expect(len(sent.records) == 6 and [number for number, _ in sent.bad] == [5, 6], sent.said)
    return ran.said


@case("data-41", tried="a line of units below the header", before="refused: line 2 holds no numbers")
def units_line(room: Room) -> str:
    return _read_by_both(room, _text(HEADER, ",m/min,degC,mm,L/min,K,", *_rows()))


@case("data-42", tried="Excel's Unicode text: UTF-16 and tabs", before="import-csv: no UTF-8; send: status 1")
def utf_16(room: Room) -> str:
    return _read_by_both(room, "\r\n".join((HEADER, *_rows())).replace(",", "\t").encode("utf-16"))


@case(
    "data-43",
    tried="names of the plant, in capitals, with units",
    before="lacks all columns; which it has, it did not say",
)
def plant_names(room: Room) -> str:
    _read_by_both(room, _text(HEADER.upper(), *_rows()))
    _read_by_both(
        room, f"{HEADER},Größe\n".encode("cp1252") + "".join(f"{row},ü\n" for row in _rows()).encode("cp1252")
    )
    names = (
        "Heat",
        "Casting Speed [m/min]",
        "Mold Temp [C]",
        "Mold Level [mm]",
        "Cooling Water [L/min]",
        "Superheat [K]",
    )
    data = _text(",".join((*names, "Label")), *_rows())
    refused, _ = _import(room, data)
    expect(refused.status == 2 and "--column mold_level='Mold Level [mm]'" in refused.err, refused.said)
    options = [f"--column={field}={name}" for field, name in zip(("sequence", *SENSORS), names, strict=True)]
    ran, casts = _import(room, data, *options)
    expect(len(casts["heat-1"]) == 6, ran.said)
    return refused.said


@case("data-44", tried="a file whose end was never written: NULs", before="named by import-csv only")
def nul_tail(room: Room) -> str:
    data = _text(HEADER, *_rows()) + b"\0" * 5000
    sent = Sent("casting", data)
    expect(len(sent.records) == 6 and [number for number, _ in sent.bad] == [8], sent.said)
    return _refused_by_both(room, data, "holds NUL bytes only")


@case("data-45", tried="the header again between the lines", before="a bad line")
def header_again(room: Room) -> str:
    return _read_by_both(room, _text(HEADER, *_rows()[:3], HEADER, *_rows()[3:]))


@case("data-45b", tried="a delimiter at each line's end", before="all lines refused")
def trailing_delimiter(room: Room) -> str:
    return _read_by_both(room, _text(HEADER, *(f"{row}," for row in _rows())))


@case("data-45c", tried="two files with a byte order mark each, put together", before="a cast of its own, named U+FEFF")
def bom_in_the_middle(room: Room) -> str:
    data = _text(f"\ufeff{HEADER}", *_rows(3), f"\ufeff{HEADER}", *(f"\ufeff{row}" for row in _rows()[3:]))
    _, casts = _import(room, data)
    expect(list(casts) == ["heat-1"], f"casts {list(casts)}")
    return _read_by_both(room, data)


@case("data-46", tried="all cells in quotes, CRLF, a byte order mark", before="read")
def quoted_crlf_bom(room: Room) -> str:
    quoted = [",".join(f'"{cell}"' for cell in row.split(",")) for row in (HEADER, *_rows())]
    return _read_by_both(room, b"\xef\xbb\xbf" + _text(*quoted, end="\r\n"))


SIGNAL = {"stream": "s", "signal": 0.1, "condition_vector": [0, 1, 0, 0]}


@case("data-48", tried="pretty-printed JSON, an array, mosquitto_sub -v", before="ten bad lines; lacks the columns ...")
def json_not_in_lines(room: Room) -> str:
    pretty = Sent("signal", json.dumps(SIGNAL, indent=2).encode())
    expect("one object on each line is needed: jq -c ." in pretty.error, pretty.said)
    array = Sent("signal", json.dumps([SIGNAL, SIGNAL]).encode())
    expect("jq -c '.[]'" in array.error, array.said)
    topics = Sent("signal", f"plant/strand-7 {json.dumps(SIGNAL)}\n".encode())
    expect("leave out -v of mosquitto_sub" in topics.error, topics.said)
    return f"{pretty.error}; {array.error}; {topics.error}"


@case(
    "data-49", tried="names of another spelling: Step, timestampMs, Sequence", before="without effect, without a word"
)
def near_misses(room: Room) -> str:
    line = SIGNAL | {"Sequence": "a", "Step": 0, "timestampMs": 1795450377693}
    sent = Sent("signal", f"{json.dumps(line)}\n".encode() * 3)
    expect(len(sent.notices) == 3 and "is it meant as 'timestamp_ms'?" in sent.notices[2], sent.said)
    return "; ".join(sent.notices)


@case(
    "data-51", tried="odd JSON: half of a surrogate pair, 1e400, names twice", before="named, one by a misleading word"
)
def odd_json(room: Room) -> str:
    lines = [
        b'{"signal": 0.1, "condition_vector": [0,1,0,0], "serial": 123456789012345678901234567890}',
        b'{"signal": 0.1, "condition_vector": [0,1,0,0], "note": "\\ud83d"}',
        b'{"signal": 1e400, "condition_vector": [0,1,0,0]}',
        b'{"signal": 1E-1, "condition_vector": [0,1,0,0]}',
    ]
    sent = Sent("signal", b"\n".join(lines))
    expect(len(sent.records) == 2 and [number for number, _ in sent.bad] == [2, 3], sent.said)
    expect("half of a surrogate pair" in sent.bad[0][1], sent.said)
    return sent.said


@case("data-52", tried="times in ISO 8601, in columns timestamp and timestamp_ms", before="ignored, or refused")
def iso_times(room: Room) -> str:
    for name in ("timestamp", "timestamp_ms"):
        data = _text(f"signal;c1;c2;c3;c4;{name};shift", "0,1;0;1;0;0;2026-03-01T08:00:00.001+01:00;B")
        sent = Sent("signal", data)
        expect([record["timestamp_ms"] for record in sent.records] == [1772348400001], sent.said)
        expect(sent.notices == ["columns without a meaning here: shift"], sent.said)
    return sent.said


@case("data-52c", tried="steps that pandas wrote as 0.0", before="refused by send, taken by import-csv")
def whole_floats(room: Room) -> str:
    sent = Sent("signal", _text("signal,c1,c2,c3,c4,step", "0.1,0,1,0,0,0.0", "0.1,0,1,0,0,1.0"))
    expect([record["step"] for record in sent.records] == [0, 1], sent.said)
    sent = Sent("signal", json.dumps(SIGNAL | {"step": 3.0}).encode())
    expect([record["step"] for record in sent.records] == [3], sent.said)
    ran, casts = _import(room, _text(f"step,{HEADER}", *(f"{step}.0,{row}" for step, row in enumerate(_rows()))))
    expect(len(casts["heat-1"]) == 6, ran.said)
    return sent.said


@case(
    "data-54",
    tried="one bad line of each sort between good ones: a stray CR, NULs, a cell of a megabyte, an open quote",
    before="a stray CR, a huge cell or an open quote ended the command with status 1; what came before was lost",
)
def one_bad_line(room: Room) -> str:
    good = _rows(2)
    for line in (
        b"heat\r-1,1",
        b"\0\0",
        b"heat-1,1,1,1,1," + b"9" * 1_000_000,
        b'"heat-1,1',
        b"\xff\xfe,1",
        b"a,b",
        b"{",
    ):
        data = b"\n".join([HEADER.encode(), good[0].encode(), line, good[1].encode()])
        sent = Sent("casting", data)
        expect(len(sent.records) == 2 and [number for number, _ in sent.bad] == [3], f"{line[:20]!r}: {sent.said}")
        _refused_by_both(room, data, sent.bad[0][1])
    return "each is named as line 3 by both, and send sends the others"


@case(
    "data-54b",
    tried="send to a real broker: bad lines, then an input that ends in the middle of a line",
    before="as data-54",
    slow=True,
)
def sent_for_good(room: Room) -> str:
    from tests.broker import consume_all

    settings = room.settings()
    ran = room.caststream(
        *("send", "casting", "--stream", "strand-1"),
        stdin=b"\r\n".join([HEADER.encode(), *(row.encode() for row in _rows(3)), b"heat\r-1,1", b"\0" * 100]),
        broker=settings.broker,
        topic_prefix=settings.topic_prefix,
    )
    count = len(consume_all(settings, settings.topic("casting-samples")))
    expect(ran.status == 1 and count == 3 and "line 5: " in ran.err and "line 6: " in ran.err, ran.said)
    return f"{ran.said}; {count} records in the topic"
