"""Shares the partitions of topics out among the members of a group: evenly, and with as few moves as can be.

A partition that moves is a pause for its streams, whose states the new owner has to read.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping


def share_out(held: Mapping[str, Collection[int]], partitions: int) -> dict[str, list[int]]:
    """Give each partition from 0 to ``partitions - 1`` to one member; their numbers differ by one at most.

    A member keeps what it held, as far as shares stay even. Where several say that they held a partition, the last of
    them in ``held`` counts.

    Args:
        held: what each member held before; at least one member.
    """
    owner = {partition: member for member, mine in held.items() for partition in mine if 0 <= partition < partitions}
    shares: dict[str, list[int]] = {member: [] for member in held}
    for partition, member in sorted(owner.items()):
        shares[member].append(partition)
    free = {*range(partitions)} - owner.keys() | _give_up(shares, partitions)
    _hand_out(shares, sorted(free))
    return shares


def _give_up(shares: Mapping[str, list[int]], partitions: int) -> set[int]:
    """Take from members what they have too much of; as many as the division leaves over may keep one more."""
    fewest, left_over = divmod(partitions, len(shares))
    taken: set[int] = set()
    for mine in shares.values():
        most = fewest
        if len(mine) > fewest and left_over:
            most, left_over = fewest + 1, left_over - 1
        taken.update(mine[most:])
        del mine[most:]
    return taken


def _hand_out(shares: Mapping[str, list[int]], free: Collection[int]) -> None:
    """Give each free partition to the member that has the fewest, in the order of members where they are even."""
    waiting = [(len(mine), place, mine) for place, mine in enumerate(shares.values())]
    heapq.heapify(waiting)
    for partition in free:
        count, place, mine = waiting[0]
        mine.append(partition)
        heapq.heapreplace(waiting, (count + 1, place, mine))
    for mine in shares.values():
        mine.sort()
