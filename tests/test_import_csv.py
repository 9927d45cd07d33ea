"""A user's casts as CSV: what is read, what it becomes, what is refused and how that is said."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.csv import bad_lines, casts, order, samples
from core.data.csv.casts import CastSummary
from core.data.csv.import_csv import import_csv
from core.data.csv.lines import MAX_LINE_BYTES
from core.data.csv.signals import SignalSummary
from core.data.layout import open_checked
from core.errors import DataError
from core.offline.predict import predict
from core.wire.records import SENSORS

HEADER = ["sequence", "step", *SENSORS]
Import = Callable[..., CastSummary]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """`imported(lines)`: the lines as a file, imported to casts.h5."""

    def run(lines: list[str], end: str = "\n") -> CastSummary | SignalSummary:
        path = tmp_path / "casts.csv"
        path.write_bytes("".join(line + end for line in lines).encode())
        return import_csv(path, tmp_path / "casts.h5")

    return run


def line(sequence: str, step: int, *more: object, value: float | None = None) -> str:
    """A line whose first sensor tells its step, or ``value``."""
    sensors = [step if value is None else value, 1520.5, 150, 200, 25]
    return ",".join(str(cell) for cell in (sequence, step, *sensors, *more))


def refused(imported: Import, lines: list[str]) -> str:
    with pytest.raises(DataError) as raised:
        imported(lines)
    return str(raised.value)


def casts_of(path: Path) -> dict[str, list[float]]:
    """The first sensor's values of each cast, by its name, in the order of the file."""
    with h5py.File(path) as file:
        spans = zip(file["sequence"].asstr(), file["cast_start"], file["cast_length"], strict=True)
        return {name: file[SENSORS[0]][start : start + length].tolist() for name, start, length in spans}


def test_every_column_comes_back_in_the_layout_of_castings(imported: Import, tmp_path: Path) -> None:
    summary = imported(
        [
            ",".join([*HEADER, "label", "defect_probability", "trigger", "operator"]),
            line("heat-1", 0, 1, 0.75, "mold_level", "Ann", value=1.25),
            line("heat-1", 1, 1, 0.75, "mold_level", "Ann", value=1.5),
            line("heat-2", 0, "", "", "", "Ann", value=0.5),
        ]
    )

    file, kind = open_checked(tmp_path / "casts.h5")
    with file:
        assert kind == "casting"
        assert [file[name].dtype for name in SENSORS] == [np.float32] * 5
        assert file["casting_speed"][:].tolist() == [1.25, 1.5, 0.5]
        assert file["mold_temperature"][:].tolist() == [1520.5] * 3
        assert file["cast_start"][:].tolist() == [0, 2]
        assert file["cast_length"][:].tolist() == [2, 1]
        assert file["label"][:].tolist() == [1, -1]
        assert file["defect_probability"][0] == 0.75
        assert np.isnan(file["defect_probability"][1])
        assert file["trigger"].asstr()[:].tolist() == ["mold_level", ""]
        assert file["sequence"].asstr()[:].tolist() == ["heat-1", "heat-2"]
    assert summary == CastSummary(
        casts=2, samples=3, defective=1, good=0, unknown=1, short=2, gaps=0, ignored=("operator",)
    )


def test_the_result_can_be_predicted(imported: Import, tmp_path: Path) -> None:
    imported([",".join(HEADER), *(line("a", step, value=1.2) for step in range(120))])

    done = predict(tmp_path / "casts.h5", tmp_path / "scores.h5")

    assert (done.kind, done.rows, done.outputs) == ("casting", 1, 2)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    gap=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_lines_in_any_order_are_sorted_by_cast_and_step(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], gap: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    lines = [(f"c{cast}", gap * step) for cast, length in enumerate(lengths) for step in range(length)]
    random.Random(seed).shuffle(lines)
    (folder / "a.csv").write_text("\n".join([",".join(HEADER), *(line(*one) for one in lines)]))

    summary = import_csv(folder / "a.csv", folder / "a.h5")

    first_seen = list(dict.fromkeys(name for name, _ in lines))
    slow = {name: sorted(float(step) for one, step in lines if one == name) for name in first_seen}
    assert casts_of(folder / "a.h5") == slow
    assert list(casts_of(folder / "a.h5")) == first_seen
    assert summary.gaps == sum((length - 1) * (gap - 1) for length in lengths)


def test_more_lines_than_a_block_arrive_whole(
    imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BLOCK", 7)
    monkeypatch.setattr(casts, "BLOCK", 7)

    imported([",".join(HEADER), *(line(f"c{step % 2}", step) for step in range(40))])

    assert casts_of(tmp_path / "casts.h5") == {
        "c0": [float(step) for step in range(0, 40, 2)],
        "c1": [float(step) for step in range(1, 40, 2)],
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_line_ends_a_byte_order_mark_quotes_and_empty_lines_are_read(
    imported: Import, tmp_path: Path, delimiter: str, end: str
) -> None:
    lines = [f"\ufeff{delimiter.join(reversed(HEADER))}", "", line('"heat 1"', 0), line("heat 1", 1)]

    imported([lines[0], lines[1], *(delimiter.join(reversed(one.split(","))) for one in lines[2:])], end)

    assert casts_of(tmp_path / "casts.h5") == {"heat 1": [0.0, 1.0]}


def test_without_a_step_the_order_of_the_lines_counts(imported: Import, tmp_path: Path) -> None:
    summary = imported([",".join(["sequence", *SENSORS]), "a,3,1,1,1,1", "a,2,1,1,1,1", "b,1,1,1,1,1"])

    assert casts_of(tmp_path / "casts.h5") == {"a": [3.0, 2.0], "b": [1.0]}
    assert summary.gaps == 0


def test_a_label_may_stand_in_one_line_of_its_cast(imported: Import, tmp_path: Path) -> None:
    imported([",".join([*HEADER, "label"]), line("a", 0, ""), line("a", 1, -1), line("a", 2, "1.0"), line("b", 0, 0)])

    with h5py.File(tmp_path / "casts.h5") as file:
        assert file["label"][:].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("a,1,2,1520", "has 4 cells, the header has 10"),
        (",1,1,1,1,1,1,,,", "sequence is empty"),
        ("x" * 300 + ",1,1,1,1,1,1,,,", f"sequence is '{'x' * 40}'...: at most 255 bytes"),
        ("a,-1,1,1,1,1,1,,,", "step is '-1': must be a whole number from 0"),
        ("a,1.5,1,1,1,1,1,,,", "step is '1.5': must be a whole number from 0"),
        ("a,,1,1,1,1,1,,,", "step is empty"),
        ("a,1,1,,1,1,1,,,", "mold_temperature is empty"),
        ('a,1,1,"1520,5",1,1,1,,,', "mold_temperature is '1520,5': must be a number with a decimal point"),
        ("a,1,1,1,n/a,1,1,,,", "mold_level is 'n/a': must be a number"),
        ("a,1,1,1,1,nan,1,,,", "cooling_water_flow is nan: must be a finite number"),
        ("a,1,1,1,1,1,2e6,,,", "superheat is 2e6: must be a number within 1e+06"),
        ("a,1,1,1,1,1,1,2,,", "label is 2: must be 1 (defective), 0 (good), or -1 or empty (unknown)"),
        ("a,1,1,1,1,1,1,bad,,", "label is 'bad': must be a number"),
        ("a,1,1,1,1,1,1,0,,", "label is 0, on an earlier line of the same cast it is 1"),
        ("a,1,1,1,1,1,1,,1.5,", "defect_probability is 1.5: must be from 0 to 1"),
        ("a,1,1,1,1,1,1,,0.5,", "defect_probability is 0.5, on an earlier line of the same cast it is 0.25"),
        ("a,1,1,1,1,1,1,,,no", "trigger is no, on an earlier line of the same cast it is yes"),
        ("a,0,1,1,1,1,1,,,", "cast 'a' has step 0 twice"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_nothing_is_written(
    imported: Import, tmp_path: Path, wrong: str, words: str
) -> None:
    header = ",".join([*HEADER, "label", "defect_probability", "trigger"])

    said = refused(imported, [header, "", "a,0,1,1,1,1,1,1,0.25,yes", wrong])

    assert f"casts.csv: line 4: {words}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["casts.csv"]


def test_only_the_first_bad_lines_are_named(imported: Import) -> None:
    said = refused(imported, [",".join(HEADER), *["a,0"] * 12])

    assert said.count("line ") == bad_lines.NAMED
    assert said.endswith("; and 7 more lines; --skip-bad skips such lines")


def test_a_cast_that_comes_back_needs_steps(imported: Import) -> None:
    lines = [",".join(["sequence", *SENSORS]), "a,1,1,1,1,1", "b,1,1,1,1,1", "a,1,1,1,1,1"]

    assert "line 4: cast 'a' goes on after another: keep its lines together" in refused(imported, lines)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["sequence,step,casting_speed"], "lacks the columns mold_temperature, mold_level, cooling_water_flow, superh"),
        ([], "lacks the columns sequence"),
        (['{"sequence": "a"}'], "lacks the columns sequence"),
        ([",".join([*HEADER, "step"])], "has the column step twice"),
        ([",".join(HEADER)], "holds no samples"),
    ],
)
def test_a_wrong_header_is_refused(imported: Import, lines: list[str], words: str) -> None:
    assert words in refused(imported, lines)


def test_too_many_lines_out_of_order_are_refused(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MAX_RUNS", 3)

    said = refused(imported, [",".join(HEADER), *(line("a", step) for step in (3, 2, 1, 0))])

    assert "line 5: more than 3 lines out of order: sort the file by sequence" in said


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join(HEADER) + "\n" + line("a", 0))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 100)
    (tmp_path / "long.csv").write_bytes(b"x" * (MAX_LINE_BYTES + 1))

    for source, out, words in [
        ("missing.csv", "b.h5", "missing.csv: no such file"),
        (".", "b.h5", "cannot be read"),
        ("a.h5", "b.h5", "a.h5: is no text in UTF-8"),
        ("long.csv", "b.h5", "long.csv: line 1 is longer than 1,048,576 bytes"),
        ("a.csv", "a.csv", "a.csv: is the file to read"),
        ("a.csv", "missing/b.h5", "b.h5: cannot be written"),
    ]:
        with pytest.raises(DataError, match=words):
            import_csv(tmp_path / source, tmp_path / out)
    assert not (tmp_path / "b.h5").exists()


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path, told = tmp_path / "a.csv", []
    path.write_text(",".join(HEADER) + "\n" + line("a", 0))

    import_csv(path, tmp_path / "a.h5", lambda done, total: told.append((done, total)))

    assert told == [(path.stat().st_size, path.stat().st_size)]


def test_the_same_file_gives_the_same_bytes(imported: Import, tmp_path: Path) -> None:
    lines = [",".join(HEADER), line("a", 0), line("a", 1)]

    imported(lines)
    first = (tmp_path / "casts.h5").read_bytes()
    imported(lines)

    assert (tmp_path / "casts.h5").read_bytes() == first
