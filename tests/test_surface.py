"""The surface that others rely on stays: nothing of tests/surface.json vanishes, and what is new is added by hand."""

from __future__ import annotations

import json

import pytest

from tests.surface import STORED, surface

PROMISED: dict[str, list[str]] = json.loads(STORED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def now() -> dict[str, list[str]]:
    return surface()


def test_the_sections_are_those_that_were_promised(now: dict[str, list[str]]) -> None:
    assert list(now) == list(PROMISED)


@pytest.mark.parametrize("section", PROMISED)
def test_nothing_that_others_rely_on_has_changed(now: dict[str, list[str]], section: str) -> None:
    missing = sorted(set(PROMISED[section]) - set(now[section]))
    new = sorted(set(now[section]) - set(PROMISED[section]))

    assert not missing, f"gone from {section}; somebody relies on it: {missing}"
    assert not new, f"new in {section}; if it is meant to be there, add it to {STORED.name}: {new}"


def test_no_entry_stands_twice(now: dict[str, list[str]]) -> None:
    assert all(len(set(entries)) == len(entries) for entries in now.values())
