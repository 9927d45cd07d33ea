"""Assigns the group's partitions as Faust does, and says aloud which of them nobody gets.

One member assigns for all, so it has to see the topics of tasks that only others run. Of a topic that it does not see
Faust assigns nothing, with a warning that a log is full of others.
"""

from __future__ import annotations

import logging
from typing import Any

from faust.assignor import PartitionAssignor

log = logging.getLogger(__name__)


class LoudAssignor(PartitionAssignor):
    """Faust's own, with a line for topics whose partitions stay without a worker."""

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
