"""The schema of a task's records accepts what its senders send and its readers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.tasks.declaration import Declaration
from core.tasks.reading import SHIPPED, read_declaration, shipped
from core.wire import records
from core.wire.schema import asyncapi, example_sample, output_schema, sample_schema
from tests.fuzz.tasks import PUMP, WINDOWS

SIGNAL = {"signal": 0.5, "condition_vector": [1, 0, 0, 0]}
CASTING = dict.fromkeys(records.SENSORS, 1.5)


def task(folder: Path, text: str) -> Declaration:
    (folder / "task.toml").write_text(text)
    return read_declaration(folder / "task.toml", need_files=False)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(("name", "decode"), [("signal", records.decode_signal), ("casting", records.decode_casting)])
def test_the_example_of_a_sample_is_read_by_a_worker(name: str, decode: Any) -> None:
    example = example_sample(shipped(name))

    assert decode(json.dumps(example).encode())
    assert accepts(sample_schema(shipped(name)), example)


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"sequence": "a", "step": 3, "timestamp_ms": 1_700_000_000_000}, True),
        ({"sequence": None, "step": None, "other": [{}]}, True),
        ({"signal": 2e6}, False),
        ({"signal": "1"}, False),
        ({"signal": None}, False),
        ({"condition_vector": [1, 0, 0]}, False),
        ({"condition_vector": [1, 0, 0, "0"]}, False),
        ({"step": -1}, False),
        ({"timestamp_ms": 1_700_000_000}, False),
        ({"sequence": "a" * 256}, False),
    ],
)
def test_a_sample_is_accepted_by_the_schema_if_the_worker_reads_it(change: dict[str, Any], good: bool) -> None:
    value = SIGNAL | change

    assert accepts(sample_schema(shipped("signal")), value) == good
    try:
        records.decode_signal(json.dumps(value).encode())
    except records.RecordError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("signal", records.Prediction("s", "a", 3, 1_700_000_000_000, 0.5, "0123456789ab")),
        ("signal", records.Prediction("s", "", 3, 1_700_000_000_000, None, "0123456789ab", 7)),
        ("casting", records.Score("s", "a", 3, 0, 4, 1_700_000_000_000, 0.5, 2, False, "0123456789ab")),
        ("casting", records.Score("s", "a", 3, 0, 4, 1_700_000_000_000, None, None, True, "0123456789ab", "too_short")),
    ],
)
def test_outputs_of_a_worker_are_accepted_by_the_schema(name: str, output: Any) -> None:
    value = json.loads(records.encoder("json")(output))
    schema = output_schema(shipped(name))

    assert accepts(schema, value)
    assert [field for field in schema["properties"] if field in value] == [*value]
    for field in schema["required"]:
        assert not accepts(schema, {key: held for key, held in value.items() if key != field}), field


def test_a_field_stands_under_its_name_or_an_alias_or_is_held(tmp_path: Path) -> None:
    schema = sample_schema(task(tmp_path, PUMP))
    numbers = [1.0] * 12

    assert accepts(schema, {"vibration": numbers, "speed": 1})
    assert accepts(schema, {"vib": numbers})
    assert accepts(schema, {"vib": numbers, "speed": None})
    assert not accepts(schema, {"speed": 1})
    assert not accepts(schema, {"vib": [*numbers[1:], 201]})
    assert schema["properties"]["vib"]["description"] == "In mm/s."


def test_outputs_have_the_types_of_what_is_applied(tmp_path: Path) -> None:
    steps, windows = (output_schema(task(tmp_path, text))["properties"] for text in (PUMP, WINDOWS))

    def good(schema: dict[str, Any], *values: Any) -> list[Any]:
        return [value for value in values if accepts(schema, value)]

    assert good(steps["forecast"], {"de_h": 1, "de_v": 2, "nde_h": None}, {"de_h": 1}, [1, 2, 3], 1) == [
        {"de_h": 1, "de_v": 2, "nde_h": None}
    ]
    assert good(steps["score"], 0, 1.5, None, -1, "1", [1]) == [0, 1.5, None]
    assert good(steps["alarm"], True, None, 2, "true") == [True, None]
    assert good(windows["p"], {"run": 0.5, "walk": 0.5}, {"run": 2, "walk": 0}, 0.5) == [{"run": 0.5, "walk": 0.5}]
    assert good(windows["best"], "run", "walk", None, "stand", 1) == ["run", "walk", None]
    assert good(windows["most"], 3, None, 1.5, -1) == [3, None]
    assert [*windows][3:5] == ["start", "length"]


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [held for key, held in part.items() if key == "$ref"] + [
            each for held in part.values() for each in references(held)
        ]
    return [each for held in part for each in references(held)] if isinstance(part, list) else []


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = asyncapi([shipped(name) for name in SHIPPED], "plant.".__add__)
    found = references(document)

    assert len(found) > 10
    for reference in found:
        part = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    assert [channel["address"] for channel in document["channels"].values()] == [
        "plant.signal-samples",
        "plant.signal-predictions",
        "plant.casting-samples",
        "plant.casting-scores",
    ]
    assert document["asyncapi"] == "3.0.0"
