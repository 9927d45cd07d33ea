"""The permissions that are printed: those of SECURITY.md by default, and those of any tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from stream_app.clients import topic_reader
from stream_app.settings import Settings
from stream_app.topics.acls import VERIFY_GROUPS, Role, commands, grants
from stream_app.topics.permissions import worker_needs
from tests.commands import ROOT, Run
from tests.own_tasks import write_task
from tests.secure_broker import acls_in

ROLES: tuple[Role, ...] = get_args(Role)


def test_what_is_printed_by_default_is_what_security_md_grants() -> None:
    settings = Settings()
    printed = acls_in("\n".join(commands(settings, ROLES)), settings)

    assert set(printed) == set(acls_in((ROOT / "SECURITY.md").read_text(), settings))


def test_a_task_of_the_users_own_gets_what_each_role_needs_on_its_topics(run: Run, tmp_path: Path) -> None:
    task = write_task(tmp_path, "press")
    where = ("--topic-prefix", "plant-", "--app-id", "steel", "--tasks", str(task))
    found = re.sub(r" \\\n +", " ", run("topics", "permissions", *where).out)
    lines = [line for line in found.splitlines() if line.startswith("acl ")]
    topics = {"plant-press-samples", "plant-press-outputs", "steel-press-states-changelog", "plant-dead-letters"}
    named = {name for line in lines for name in re.findall(r"--topic (\S+)", line)}

    assert named == topics
    assert {line.split()[2] for line in lines} == {f"User:{role}" for role in ROLES}
    assert "acl --allow-principal User:sender --operation Write --topic plant-press-samples" in lines
    assert "acl --allow-principal User:worker --operation Read --group steel" in lines


def test_one_role_can_be_chosen(run: Run) -> None:
    lines = run("topics", "permissions", "--role", "sender").out.splitlines()

    assert {line.split()[2] for line in lines if line.startswith("acl ")} == {"User:sender"}


@pytest.mark.parametrize("tasks", ["signal", "signal,casting"])
def test_a_worker_is_granted_all_that_it_asks_for_at_its_start(tasks: str) -> None:
    settings = Settings(tasks=tasks)
    granted = {
        (topic, operation.lower())
        for grant in grants(settings)["worker"]
        for topic in grant.topics
        for operation in grant.operations.split()
    }

    for topic, operations in worker_needs(settings).items():
        assert {(topic, operation.name.lower().replace("_", "")) for operation in operations} <= granted


def test_the_groups_of_verify_are_those_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[dict[str, Any]] = []
    monkeypatch.setattr(topic_reader, "Consumer", configs.append)
    monkeypatch.setattr(topic_reader, "check_access", lambda config: None)

    topic_reader.TopicReader({}, "verify")

    assert configs[0]["group.id"].startswith(VERIFY_GROUPS)
