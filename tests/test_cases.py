"""The quick cases of tests/cases: each is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases.case import Case
from tests.cases.inside import InsideRoom
from tests.cases.play import load_cases
from tests.cases.room import Room

QUICK = [case for case in load_cases() if not case.slow]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with InsideRoom(tmp_path_factory.mktemp("cases")) as room:
        yield room


@pytest.mark.parametrize("case", QUICK, ids=[case.number for case in QUICK])
def test_case_is_right(case: Case, room: Room) -> None:
    case.play(room)
