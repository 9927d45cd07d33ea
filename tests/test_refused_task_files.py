"""A task file that cannot be used is refused with a line that says what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import StartupError
from core.tasks import names
from core.tasks.keys import LONGEST_ARRAY
from core.tasks.reading import read_declaration
from core.tasks.toml_file import LARGEST_BYTES
from tests.task_folder import FORECAST, FORECASTS, MODEL, OF_FORECAST, OUT, PUMP, SPEED, WINDOWS, Folder, changed


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


REFUSED = [
    ("", "name is missing: it must be a letter or digit, then"),
    (changed('name = "pump"', ""), "name is missing"),
    (changed('"step"', '"steps"'), 'kind is "steps": must be step or window'),
    (changed('"pump"', '"pump 1"'), 'name is "pump 1": must be a letter or digit'),
    (changed('"pump"', '"pump\\n"'), 'name is "pump\\n": must be'),
    (changed('"pump"', '"../pump"'), "name is"),
    (changed('"pump"', '".."'), "name is"),
    (changed('"pump"', "7"), "name is 7: must be"),
    (changed('"pump"', "2026-11-30"), 'name is "2026-11-30": must be'),
    (changed('"pump"', '"signal"'), 'name is "signal": must be another one: signal and casting ship with caststream'),
    (changed('kind = "step"', 'kinds = "step"'), "unknown key \"kinds\"; did you mean 'kind'?"),
    (changed("[fields]", "[feilds]"), "unknown key \"feilds\"; did you mean 'fields'?"),
    ("x = 1\n" + PUMP, 'unknown key "x"; the keys are: name, kind, topics, fields, rules, window, model, outputs'),
    ('name = "a"\nkind = "step"\n[model]\nfile = "x"', "the table [fields] is missing"),
    (PUMP.split("[model]")[0], "the table [model] is missing"),
    # topics
    ("topics = 3\n" + PUMP, "[topics] is 3: must be a table"),
    (PUMP + '[topics]\nsource = "a b"', '[topics] source is "a b": must be a letter or digit, then'),
    (PUMP + '[topics]\nsinc = "a"', '[topics] unknown key "sinc"; the keys are: source, output, table'),
    (PUMP + '[topics]\nsource = "a"\noutput = "a"', "[topics] output 'a' is there twice"),
    (
        PUMP + '[topics]\noutput = "dead-letters"',
        "[topics] output 'dead-letters' cannot be used: dead letters go there",
    ),
    # fields
    (changed("[fields]", "[[fields]]"), "[fields] must be a table of at least one field"),
    ('name = "a"\nkind = "step"\nfields = {}\n[model]\nfile = "x"', "[fields] must be a table of at least one field"),
    (changed(SPEED, "speed = 3"), "[fields.speed] is 3: must be a table"),
    (changed(SPEED, '"speed 1" = {}'), '[fields] "speed 1" is no name of a field: it must be a letter, then'),
    (changed(SPEED, '"" = {}'), '[fields] "" is no name of a field'),
    (
        changed(SPEED, "step = {}"),
        "[fields.step] field 'step' cannot be used: records have something else under the name",
    ),
    (
        changed(SPEED, "Time = {}"),
        "[fields.Time] field 'Time' cannot be used: in a record it would be read as 'timestamp_ms'",
    ),
    (changed(SPEED, "label = {}"), "[fields.label] field 'label' cannot be used: a data file has something else"),
    (
        changed(SPEED, 'speed = { alias = ["stream"] }'),
        "[fields.speed] alias 'stream' cannot be used: it names the stream",
    ),
    (
        changed(SPEED, 'speed = { alias = ["seq"] }'),
        "[fields.speed] alias 'seq' cannot be used: in a record it would be",
    ),
    (changed(SPEED, 'speed = { alias = ["vib"] }'), "[fields.speed] alias 'vib' is taken by [fields.vibration]"),
    (changed(SPEED, "vib = {}"), "[fields.vibration] alias 'vib' is taken by [fields.vib]"),
    (changed(SPEED, 'speed = { alias = ["speed"] }'), "[fields.speed] alias 'speed' is there twice"),
    (changed(SPEED, 'speed = { alias = "v" }'), '[fields.speed] alias is "v": must be a list of names'),
    (changed(SPEED, "speed = { alias = ['a\\b'] }"), "[fields.speed] alias is"),
    (changed("length = 3", "length = 0"), "[fields.vibration] length is 0: must be a whole number from 1 to 16,384"),
    (changed("length = 3", "length = -1"), "[fields.vibration] length is -1: must be"),
    (changed("length = 3", "length = 3.0"), "[fields.vibration] length is 3.0: must be a whole number"),
    (changed("length = 3", "length = true"), "[fields.vibration] length is true: must be a whole number"),
    (changed("length = 3", f"length = {LONGEST_ARRAY}"), "[fields] the fields have 16,385 numbers together"),
    (changed("length = 3", "lenght = 3"), "[fields.vibration] unknown key \"lenght\"; did you mean 'length'?"),
    (
        changed("[-200, 200]", "[200, -200]"),
        "[fields.vibration] range is [200.0, -200.0]: must be two numbers, the lower",
    ),
    (changed("[-200, 200]", "[200, 200]"), "[fields.vibration] range is [200.0, 200.0]: must be"),
    (
        changed("[-200, 200]", "[-200, inf]"),
        "[fields.vibration] range is [-200, Infinity]: must be a list of two finite",
    ),
    (changed("[-200, 200]", "[nan, 200]"), "[fields.vibration] range is [NaN, 200]: must be a list of two finite"),
    (changed("[-200, 200]", f"[0, 1{'0' * 400}]"), "[fields.vibration] range is [0, 1000"),
    (changed("[-200, 200]", "[1]"), "[fields.vibration] range is [1]: must be a list of two"),
    (changed("[-25, 25]", "[-25, 250]"), "[fields.vibration] normal is [-25.0, 250.0]: must be within range, which is"),
    (changed("[-25, 25]", "[25, -25]"), "[fields.vibration] normal is [25.0, -25.0]: must be two numbers"),
    (changed(SPEED, "speed = { overlap = 1 }"), "[fields.speed] overlap is 1: must be 0 without a length"),
    (
        changed("length = 3", "length = 3, overlap = 4"),
        "[fields.vibration] overlap is 4: must be at most the field's length",
    ),
    (changed(SPEED, 'speed = { missing = "skip" }'), '[fields.speed] missing is "skip": must be refuse or hold'),
    (
        changed(SPEED, 'speed = { columns = ["a", "b"] }'),
        "columns has 2 names: 1 is needed; for an array of them say length = 2",
    ),
    (changed("length = 3", 'length = 3, columns = ["a"]'), "[fields.vibration] columns has 1 names: 3 are needed"),
    (changed(SPEED, 'speed = { columns = ["vibration_2"] }'), "column 'vibration_2' is taken by [fields.vibration]"),
    (changed("length = 3", 'length = 2, columns = ["a", "a"]'), "[fields.vibration] column 'a' is there twice"),
    (changed(SPEED, 'speed = { columns = ["ts"] }'), "column 'ts' cannot be used: in a record it would be read as"),
    (changed('"mm/s"', '"' + "m" * 31 + '"'), "[fields.vibration] unit is"),
    # rules and windows
    (PUMP + '[rules]\ngap_policy = "fill"', '[rules] gap_policy is "fill": must be step, hold or reset'),
    (PUMP + "[rules]\nidle_timeout = 0", "[rules] idle_timeout is 0: must be seconds from 0.1"),
    (PUMP + "[rules]\nmax_gap = 10001", "[rules] max_gap is 10001: must be a whole number from 0 to 10,000"),
    (PUMP + "[window]", "[window] a task of the kind step has no windows"),
    (WINDOWS + "[window]\nlength = 0", "[window] length is 0: must be a whole number from 1"),
    (WINDOWS + "[window]\nlength = 50\nfirst = 60", "[window] first is 60: must be at most length, which is 50"),
    (WINDOWS + "[window]\nstride = 3", '[window] unknown key "stride"; the keys are: length, first, hop'),
    # the model
    (changed(MODEL, ""), "[model] file is missing: it must be a path, relative to this file"),
    (changed(MODEL, 'file = "pumps.onnx"'), '[model] file is "pumps.onnx": there is no such file in /'),
    (changed(MODEL, 'file = "."'), '[model] file is ".": that is no file'),
    (changed(MODEL, 'file = "a\\u0000"'), '[model] file is "a\\u0000": '),
    (changed(MODEL, f'file = "{"a" * 400}"'), "[model] file is"),
    (changed(MODEL, 'files = "x"'), "[model] unknown key \"files\"; did you mean 'file'?"),
    (PUMP + 'example = "no.npz"', '[model] example is "no.npz": there is no such file'),
    (PUMP + 'states = ["h"]', '[model] states is ["h"]: must be a table of'),
    (PUMP + "states = { h0 = 1 }", '[model] states is {"h0": 1}: must be a table of'),
    (PUMP + 'states = { "" = "h" }', '[model.states] "" is no name of an input'),
    (PUMP + 'states = { h = "n", c = "n" }', "[model.states] output 'n' is there twice"),
    (PUMP + 'input = "h"\nstates = { h = "n" }', "[model.states] input 'h' is taken by [model]"),
    (PUMP + 'states = { h = "n" }\nconstants = { h = 1 }', "[model.constants] input 'h' is taken by [model.states]"),
    (PUMP + 'constants = { sr = "16000" }', '[model.constants] sr is "16000": must be a number, or an array of rows'),
    (PUMP + "constants = { sr = [[1, 2], [3]] }", "[model.constants] sr is [[1, 2], [3]]: must be a number"),
    (PUMP + "constants = { sr = [] }", "[model.constants] sr is []: must be a number"),
    (PUMP + "constants = { sr = inf }", "[model.constants] sr is Infinity: must be a number"),
    (PUMP + f"constants = {{ sr = 0x{'f' * 8_000} }}", "[model.constants] sr is a number that is too large"),
    # outputs
    (PUMP + "outputs = 3", '[model] unknown key "outputs"'),
    ("outputs = {}\n" + PUMP, "[outputs] must be a table of at least one output"),
    (OUT + "gap = {}", "[outputs.gap] output 'gap' cannot be used: records have something else"),
    (OUT + "speed = {}", "[outputs.speed] output 'speed' is taken by [fields.speed]"),
    (OUT + "'a b' = {}", '[outputs] "a b" is no name of an output'),
    (OUT + 'a = { apply = "sigmod" }', '[outputs.a] apply is "sigmod": must be sigmoid, softmax, label'),
    (OUT + 'a = { apply = "2 * x" }', "[outputs.a] apply is"),
    (OUT + 'a = { aply = "sigmoid" }', "[outputs.a] unknown key \"aply\"; did you mean 'apply'?"),
    (OUT + "forecast = {}\na = { of = 'forcast', apply = 'error' }", "no such output; did you mean 'forecast'?"),
    (
        OUT + "a = { of = 'b', apply = 'error' }",
        '[outputs.a] of is "b": there is no such output; there is none above it',
    ),
    (OUT + "a = { of = 'a', apply = 'error' }", '[outputs.a] of is "a": must be an output that stands above this one'),
    (OUT + "a = { of = 'b', apply = 'error' }\nb = {}", "must be an output that stands above this one"),
    (OUT + "b = {}\na = { of = 'b' }", '[outputs.a] has of = "b" and no apply'),
    (OUT + "b = {}\na = { of = 'b', tensor = 'x', apply = 'error' }", "[outputs.a] has both of"),
    (OUT + "a = { scale = 2 }", '[outputs.a] scale is for apply = "sigmoid" alone'),
    (OUT + "a = { labels = ['x'] }", '[outputs.a] labels is for apply = "softmax" and "label" alone'),
    (OUT + "a = { apply = 'label' }", "[outputs.a] labels are missing"),
    (OUT + "a = { apply = 'softmax', labels = ['x', 'x'] }", "[outputs.a] labels 'x' is there twice"),
    (OUT + "a = { names = ['x', 'x'] }", "[outputs.a] names 'x' is there twice"),
    (
        OUT + "a = { apply = 'error', names = ['x'] }",
        '[outputs.a] names are there, and apply = "error" gives one value',
    ),
    (OUT + "a = { apply = 'softmax', labels = ['x'], names = ['y'] }", "[outputs.a] has both names and labels"),
    (OUT + "a = { apply = 'above' }", "[outputs.a] threshold is missing: it must be a finite number"),
    (OUT + "a = { apply = 'above', threshold = 1, clear = 2 }", "[outputs.a] clear is 2.0: must be at most threshold"),
    (OUT + "a = { apply = 'argmax_step' }", '[outputs.a] apply is "argmax_step": it is for tasks of the kind window'),
    (WINDOWS + "[outputs]\na = { apply = 'forecast_error' }", "it is for tasks of the kind step alone"),
    (WINDOWS + "[outputs]\na = { apply = 'forecast' }", "it is for tasks of the kind step alone"),
    (
        WINDOWS + "[outputs]\na = {}\nb = { publish = false }",
        "[outputs.b] publish is false: that is for tasks of the kind",
    ),
    (OUT + "a = { apply = 'surprise' }", '[outputs.a] apply is "surprise", and of is missing: name an output above'),
    (OUT + "b = {}\na = { of = 'b', apply = 'expected' }", 'of is "b": name an output above with apply = "forecast"'),
    (OUT + FORECASTS + "a = { of = 'f', apply = 'leading' }", "there is no such output"),
    (
        OUT + FORECASTS + "a = { of = 'forecast', apply = 'leading' }",
        'above with apply = "likelihood_ratio" by of',
    ),
    (
        OUT + FORECASTS + "a = { of = 'forecast', apply = 'above', threshold = 1 }",
        'of is "forecast", whose apply is "forecast": expected and surprise and likelihood_ratio can be applied to it, '
        'not "above"',
    ),
    (
        OUT + FORECAST + "least = [] }" + OF_FORECAST + "\na = { of = 'expected', apply = 'error' }",
        'of is "expected", whose apply is "expected": nothing can be applied to it, not "error"',
    ),
    (OUT + FORECAST + "least = [1] }", "[outputs.forecast] least has 1 numbers: 4 are needed"),
    (OUT + FORECAST + "least = [-1, 0, 0, 0] }", "least is [-1, 0, 0, 0]: must be a list of numbers from 0 on"),
    (OUT + FORECAST + "horizon = 3 }", '[outputs.forecast] horizon is for apply = "likelihood_ratio" alone'),
    (OUT + "a = { changes = true }", '[outputs.a] changes is for apply = "forecast" alone'),
    (OUT + "a = { changes = 1, apply = 'forecast' }", "[outputs.a] changes is 1: must be true or false"),
    (
        OUT + FORECASTS + "a = { of = 'forecast', apply = 'likelihood_ratio', horizon = 0 }",
        "horizon is 0: must be a",
    ),
    (OUT + FORECAST + "publish = false }", "[outputs] none is published: leave publish = false out of one of them"),
    (
        PUMP.replace("length = 3", "length = 3, overlap = 1") + "[outputs]\n" + FORECAST + "least = [] }",
        "names are missing: with an overlap of a field, name the numbers that are forecast",
    ),
    # no TOML that can be read
    ('name = "a"\nname = "b"', "is not TOML: Cannot overwrite a value (at "),
    ("{}", "is not TOML: "),
    ("a = " + "[" * 3_000, "is nested too deeply for a task file"),
    ("a = 1" + "0" * 5_000, "is not TOML: "),
    (".".join("a" * 70) + " = 1", "has a key of more than 64 parts with dots between them"),
    ("#" * (LARGEST_BYTES + 1), "is larger than 262,144 bytes"),
    (b"\xff\xfen\x00", "is not UTF-8 text, at byte 0: save it as UTF-8"),
    (PUMP.encode("utf-16"), "is not UTF-8 text"),
    (b'name = "\x00"', "is not TOML: "),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_task_file_that_cannot_be_used_is_refused(folder: Folder, text: str | bytes, said: str) -> None:
    assert said in folder.refused(text)


@pytest.mark.parametrize("name", [*names.OF_RECORDS, *names.OF_FILES])
def test_reserved_names_are_no_fields(folder: Folder, name: str) -> None:
    assert f"field '{name}' cannot be used" in folder.refused(changed(SPEED, f"{name} = {{}}"))


@pytest.mark.parametrize("name", names.OF_RECORDS)
def test_reserved_names_are_no_outputs(folder: Folder, name: str) -> None:
    assert f"output '{name}' cannot be used" in folder.refused(f"{OUT}{name} = {{}}")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "a.toml")

    with pytest.raises(StartupError, match=r"a\.toml: (is no file|cannot be read|there is no such task file)"):
        read_declaration(tmp_path / "a.toml")


@pytest.mark.parametrize("path", ["no/such.toml", "a\0.toml", "a" * 5_000 + ".toml"])
def test_a_file_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(StartupError, match=r"there is no such task file|is no name of a file|cannot be read"):
        read_declaration(path)
