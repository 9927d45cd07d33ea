"""Assigns the group's partitions over Faust's protocol, and says aloud which of them nobody gets.

One member assigns for all, so it has to see the topics of tasks that only others run. Of a topic that it does not see
Faust assigns nothing, with a warning that a log is full of others.

Members are those of Faust's own assignor, version 4: workers of both kinds may be in one group. Two things differ:

- A member learns of its own partitions alone. Faust sends every member the partitions of all others, for its web pages,
  and every member sends them back when it joins. They grow with members times partitions; the broker keeps them in one
  record, which may have 1 MB.
- `share_out` moves no partition without need. Faust gives up what the division leaves over at each rebalance.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata, CopartitionedAssignment

from stream_app.kafka.sharing import share_out

log = logging.getLogger(__name__)

Assignments = Mapping[str, ClientAssignment]


class LoudAssignor(PartitionAssignor):
    """Faust's protocol with an assignment of our own, and a line for topics whose partitions stay without a worker."""

    def assign(self, cluster: Any, member_metadata: Any) -> Any:
        """Assign the partitions of all topics that members of the group have subscribed to."""
        topics = {topic for member in member_metadata.values() for topic in member.subscription}
        if unseen := sorted(topic for topic in topics if not cluster.partitions_for_topic(topic)):
            log.error(
                "nobody processes %s: this worker assigns the partitions of the group, and sees no such topics. They "
                "are missing (`caststream topics create`), or its Kafka user lacks Describe on them: grant what "
                "`caststream topics permissions` prints for the tasks of all workers. Then they are assigned at once",
                ", ".join(unseen),
            )
        return super().assign(cluster, member_metadata)

    @property
    def _metadata(self) -> ClientMetadata:
        """Say what this member held, when it joins; not who has what, which an older leader may have told it."""
        return ClientMetadata(
            assignment=self._assignment,
            url=str(self._url),
            changelog_distribution={},
            external_topic_distribution={},
            topic_groups=self._topic_groups,
        )

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        clients = {member: self._get_client_metadata(found) for member, found in member_metadata.items()}
        subscriptions = {member: found.subscription for member, found in member_metadata.items()}
        self._update_member_urls(clients)
        topics = {topic for subscription in subscriptions.values() for topic in subscription}
        before = {member: client.assignment for member, client in clients.items()}
        after = {member: ClientAssignment(actives={}, standbys={}) for member in clients}
        groups: dict[str, int] = {}
        by_partitions = self._get_copartitioned_groups(topics, cluster, subscriptions)
        for number, (partitions, together) in enumerate(sorted(by_partitions.items())):
            for alike in together:
                groups |= dict.fromkeys(alike, number)
                members = [member for member, subscription in subscriptions.items() if alike <= set(subscription)]
                _share(alike, partitions, {member: before[member] for member in members}, after)
        return self._protocol_assignments(after, {}, {}, groups)


def _share(topics: Iterable[str], partitions: int, before: Assignments, after: Assignments) -> None:
    """Share out topics of so many partitions each: who gets a partition gets it of all of them."""
    ordered = sorted(topics)
    held = {member: _held(found, ordered) for member, found in before.items()}
    for member, mine in share_out(held, partitions).items():
        after[member].add_copartitioned_assignment(CopartitionedAssignment(actives=set(mine), topics=set(ordered)))


def _held(found: ClientAssignment, topics: Iterable[str]) -> list[int]:
    """Return what a member held of the first topic that it had: a topic may have joined the others since."""
    return next((mine for topic in topics if (mine := found.actives.get(topic))), [])
