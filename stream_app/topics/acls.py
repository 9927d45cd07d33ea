"""All permissions that each role needs on Kafka, as the commands that grant them: their names follow from the tasks."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stream_app.routes import DEAD_LETTERS, routes
from stream_app.settings import Settings

Role = Literal["worker", "sender", "reader", "resender", "auditor", "admin"]
VERIFY_GROUPS = "caststream-verify-"
"""The beginning of the names of groups of `verify`, whatever the application: they commit nothing."""
_WIDTH = 110
_KEPT = "\N{NO-BREAK SPACE}"
"""Between an option and its value: a line is not broken there."""


@dataclass(frozen=True)
class Grant:
    """Operations on topics, or on one group or transactional id; ``prefixed``: on all that begin with its name."""

    operations: str
    topics: Sequence[str] = ()
    group: str = ""
    transactional_id: str = ""
    prefixed: bool = False


def grants(settings: Settings) -> dict[Role, list[Grant]]:
    """Return what each role needs on the topics of the tasks in the settings."""
    ours, letters = list(routes(settings).values()), settings.topic(DEAD_LETTERS)
    sources = [route.source for route in ours]
    results = [*(route.output for route in ours), letters]
    changelogs = [route.changelog for route in ours]
    app_id = settings.app_id
    return {
        "worker": [
            Grant("Read DescribeConfigs", sources),
            Grant("Read Write DescribeConfigs", results),
            Grant("Read Write DescribeConfigs", changelogs),
            Grant("Read", group=app_id),
            Grant("Write", transactional_id=f"{app_id}-", prefixed=True),
        ],
        "sender": [Grant("Write", sources)],
        "reader": [Grant("Read", results)],
        "resender": [
            Grant("Read", [letters]),
            Grant("Read Write", sources),
            Grant("Read", changelogs),
            Grant("Write", transactional_id=f"{app_id}-resend"),
        ],
        "auditor": [
            Grant("Read", [*sources, *results, *changelogs]),
            Grant("Describe", group=app_id),
            Grant("Describe", group=VERIFY_GROUPS, prefixed=True),
        ],
        "admin": [
            Grant("Create Describe DescribeConfigs", [*sources, *results]),
            Grant("Create Delete Describe DescribeConfigs Read Write", changelogs),
            Grant("Describe Delete", group=app_id),
            Grant("Alter", [*sources, *results, *changelogs]),
            Grant("Read Write", sources),
            Grant("Read", group=app_id),
            Grant("Write", transactional_id=f"{app_id}-grow"),
        ],
    }


_SAYS: dict[Role, str] = {
    "worker": "The worker. The transactional ids are for processing_guarantee = exactly_once.",
    "sender": "Senders: send, replay, and any producer.",
    "reader": "Readers: tail.",
    "resender": "People who correct and resend dead letters: dead-letters resend.",
    "auditor": "Auditors: verify.",
    "admin": "The administrator: topics create, describe, reset-state and grow.",
}


def commands(settings: Settings, roles: Sequence[Role]) -> Iterator[str]:
    """The lines of a shell script that grants it with Kafka's own tool, to the users User:ROLE."""
    broker = shlex.quote(settings.broker)
    yield f'acl() {{ kafka-acls.sh --bootstrap-server {broker} --command-config admin.properties --add "$@"; }}'
    needed = grants(settings)
    for role in roles:
        yield ""
        yield f"# {_SAYS[role]}"
        for grant in needed[role]:
            words = textwrap.wrap(" ".join(_options(role, grant)), _WIDTH, break_on_hyphens=False)
            yield " \\\n    ".join(words).replace(_KEPT, " ")


def _options(role: Role, grant: Grant) -> Iterator[str]:
    yield f"acl --allow-principal User:{role}".replace(" ", _KEPT)
    for operation in grant.operations.split():
        yield f"--operation{_KEPT}{operation}"
    for topic in grant.topics:
        yield f"--topic{_KEPT}{topic}"
    if grant.group:
        yield f"--group{_KEPT}{grant.group}"
    if grant.transactional_id:
        yield f"--transactional-id{_KEPT}{grant.transactional_id}"
    if grant.prefixed:
        yield f"--resource-pattern-type{_KEPT}prefixed"
