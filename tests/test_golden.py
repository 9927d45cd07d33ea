"""Golden bytes: outputs, dead letters and states of both tasks are those that caststream 0.1.0 wrote, byte for byte.

The files in `tests/golden` were recorded once, from version 0.1.0 at the commit that they name. **They must never be
recorded again to make a test pass**: consumers, stored states and replays rely on these bytes. A difference here is a
fault in the code, or a change that needs a migration and a word in the changelog. Only ``prediction``, ``probability``
and the h and c of states may differ, by 1e-6 (relative above 1), as other kinds of machines compute other last bits
(`tests.golden.compare`).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from core.engines.state import seal
from tests.golden.compare import differences, output_parts, signal_state_parts
from tests.golden.play import play, play_restored
from tests.golden.scenarios import FILES, Found, Scenario, read_golden

GOLDEN = {task: read_golden(task) for task in FILES}
SCENARIOS = [
    pytest.param(scenario, id=f"{task}: {scenario.name}")
    for task, golden in GOLDEN.items()
    for scenario in golden.scenarios
]
BYTES_AT_MOST = 200_000


def assert_as_recorded(scenario: Scenario, found: list[Found], restored: bool = False) -> None:
    for number, (stage, came) in enumerate(zip(scenario.stages, found, strict=True)):
        assert stage.found is not None
        lines = differences(scenario.task, stage.found, came, restored)
        source = GOLDEN[scenario.task].recorded_from
        assert not lines, f"stage {number}, {len(lines)} differences from {source}:\n" + "\n".join(lines[:5])


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_every_byte_is_as_recorded(scenario: Scenario) -> None:
    assert_as_recorded(scenario, await play(scenario))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_size_of_chunks_changes_no_byte(scenario: Scenario) -> None:
    assert_as_recorded(scenario, await play(scenario, chunk=10_000))


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_worker_that_reads_the_recorded_states_writes_the_recorded_bytes(scenario: Scenario) -> None:
    assert_as_recorded(scenario, await play_restored(scenario), restored=True)


def test_the_files_were_recorded_from_version_0_1_and_are_small() -> None:
    sources = {golden.recorded_from for golden in GOLDEN.values()}

    assert sources == {"caststream 0.1.0, commit 23dcfafc0159704d2103460f928a80335281a8c1"}
    assert sum(path.stat().st_size for path in FILES.values()) < BYTES_AT_MOST


# The comparison itself.


def recorded(task: str) -> tuple[Scenario, Found]:
    scenario = GOLDEN[task].scenarios[0]
    found = scenario.stages[0].found
    assert found is not None
    return scenario, found


def with_output(found: Found, change: Any) -> Found:
    """The same, with the value of the first output changed."""
    first, *others = found.outputs
    value = change(first.value)
    assert value != first.value
    return msgspec.structs.replace(found, outputs=[msgspec.structs.replace(first, value=value), *others])


def with_state(found: Found, change: Any) -> Found:
    """The same, with the value of the last state changed and sealed again: of casts, it is a head."""
    *others, last = found.states
    value = seal(change(last.value[:-4]))
    assert value != last.value
    return msgspec.structs.replace(found, states=[*others, msgspec.structs.replace(last, value=value)])


def flipped(at: int) -> Any:
    return lambda value: value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def off_by(difference: float) -> Any:
    """A change of the number in an output, in JSON."""

    def change(value: bytes) -> bytes:
        rest, (number,) = output_parts(value)
        return rest.replace(b"#", repr(number + difference).encode(), 1)

    return change


@pytest.mark.parametrize("task", FILES)
def test_a_number_may_differ_within_the_tolerance_only(task: str) -> None:
    scenario, found = recorded(task)

    assert not differences(task, found, with_output(found, off_by(9e-7)))
    assert len(differences(task, found, with_output(found, off_by(1.1e-6)))) == 1
    assert not scenario.overflows


@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace(b'"step":', b'"steps":'),
        lambda value: value.replace(b',"model"', b', "model"'),
        lambda value: value[:-1] + b',"more":1}',
        lambda value: msgspec.json.encode(dict(reversed(msgspec.json.decode(value).items()))),
    ],
    ids=["a name", "a blank", "a field", "the order of fields"],
)
def test_any_other_byte_of_an_output_is_found(task: str, change: Any) -> None:
    _, found = recorded(task)

    assert len(differences(task, found, with_output(found, change))) == 1


@pytest.mark.parametrize("at", [0, 1, 2, 4, 12, 20, 28, 36, 48, 67])
@pytest.mark.parametrize("task", FILES)
def test_any_byte_of_the_head_of_a_state_is_found(task: str, at: int) -> None:
    _, found = recorded(task)

    assert len(differences(task, found, with_state(found, flipped(at)))) == 1


def test_h_and_c_may_differ_within_the_tolerance_only() -> None:
    _, found = recorded("signal")

    def moved(difference: float) -> Any:
        def change(payload: bytes) -> bytes:
            head, numbers = signal_state_parts(seal(payload))
            return head + np.array([numbers[0] + difference, *numbers[1:]], "<f4").tobytes()

        return change

    assert not differences("signal", found, with_state(found, moved(8e-7)))
    assert len(differences("signal", found, with_state(found, moved(1.2e-6)))) == 1
    assert len(differences("signal", found, with_state(found, lambda payload: payload[:-4]))) == 1


def test_what_is_missing_or_in_excess_is_found() -> None:
    _, found = recorded("casting")
    fewer = msgspec.structs.replace(found, outputs=found.outputs[:-1], letters=found.letters[1:], counts={})

    assert len(differences("casting", found, fewer)) == 1 + len(found.letters) + 1
    assert len(differences("casting", fewer, found)) == 1 + len(found.letters) + 1
