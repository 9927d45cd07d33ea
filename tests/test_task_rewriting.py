"""A training writes model, outputs and normal ranges into a task file, and leaves all else as a person wrote it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.drafts.rewriting import rewritten
from core.errors import StartupError

TABLES = {"model": ['file = "new.safetensors"'], "outputs": ["score = {}", "alarm = {}"]}
TEXT = """\
# ours since 2019
name = "pump"   # do not rename
kind = "step"

[fields]
flow = {}    # { m3/h }
"level" = { unit = "m }", range = [0, 5] } # kept
speed = { normal = [1, 2] }
[fields.torque]
unit = "Nm"

[model]   # made by hand
# the old one was better
file = "old.onnx"
# in the end

[model.states]
h0 = "hn"

# what comes out
[outputs]
prediction = {}
[outputs.other]
tensor = "y"

[rules]
gap_policy = "hold"
"""


def test_comments_and_other_tables_stay_as_they_are() -> None:
    found = rewritten(Path("pump.toml"), TEXT, TABLES, {})

    assert found == TEXT.replace('file = "old.onnx"', 'file = "new.safetensors"').replace(
        '[model.states]\nh0 = "hn"\n', ""
    ).replace("prediction = {}", "score = {}\nalarm = {}").replace('[outputs.other]\ntensor = "y"\n', "")


def test_fields_on_one_line_without_a_normal_range_get_one() -> None:
    ranges = dict.fromkeys(("flow", "level", "speed", "torque"), (-1.5, 2.25))

    found = rewritten(Path("pump.toml"), TEXT, TABLES, ranges)

    fields = tomllib.loads(found)["fields"]
    assert fields == {
        "flow": {"normal": [-1.5, 2.25]},
        "level": {"unit": "m }", "range": [0, 5], "normal": [-1.5, 2.25]},
        "speed": {"normal": [1, 2]},
        "torque": {"unit": "Nm"},
    }
    assert "flow = { normal = [-1.5, 2.25] }    # { m3/h }" in found


def test_tables_that_are_missing_are_added_at_the_end() -> None:
    text = 'name = "pump"\nkind = "step"\n[fields]\nflow = {}\n'

    assert rewritten(Path("p"), text, TABLES, {}) == (
        text + '\n[model]\nfile = "new.safetensors"\n\n[outputs]\nscore = {}\nalarm = {}\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        'model = { file = "old.onnx" }\n[fields]\nflow = {}\n',
        'model.file = "old.onnx"\n[fields]\nflow = {}\n',
        'note = """\n[model]\n"""\n[fields]\nflow = {}\n',
    ],
)
def test_a_text_in_which_other_things_would_change_is_refused_with_the_lines_to_put_there(text: str) -> None:
    with pytest.raises(StartupError, match=r'(?s)put this in their place:.*\[model\]\nfile = "new'):
        rewritten(Path("pump.toml"), text, TABLES, {})


_COMMENTS = st.sampled_from(["", "# a", "  # [model]", "", "#"])


@given(
    st.permutations(["[fields]\nflow = {}", "[model]\nfile = 'x'", "[outputs]\na = {}", "[rules]\nmax_gap = 3"]),
    st.data(),
)
def test_whatever_the_order_is_nothing_else_changes(tables: list[str], data: st.DataObject) -> None:
    lines = ['name = "pump"']
    for table in tables:
        for line in table.split("\n"):
            lines += [data.draw(_COMMENTS), line]
    text = "\n".join([*lines, data.draw(_COMMENTS)])

    found = rewritten(Path("pump.toml"), text, TABLES, {"flow": (0.0, 1.0)})

    old, new = tomllib.loads(text), tomllib.loads(found)
    assert new["fields"] == {"flow": {"normal": [0, 1]}}
    assert (new["model"], list(new["outputs"])) == ({"file": "new.safetensors"}, ["score", "alarm"])
    assert (new["name"], new["rules"]) == (old["name"], old["rules"])
    assert [line.strip() for line in found.splitlines() if line.lstrip().startswith("#")] == [
        line.strip() for line in text.splitlines() if line.lstrip().startswith("#")
    ]
    assert rewritten(Path("pump.toml"), found, TABLES, {"flow": (0.0, 1.0)}) == found
