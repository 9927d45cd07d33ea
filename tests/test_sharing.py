"""Partitions are shared out evenly, and none of them moves that could have stayed."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from stream_app.kafka.sharing import share_out

Held = dict[str, list[int]]


@st.composite
def groups(draw: st.DrawFn, most_members: int, most_partitions: int) -> tuple[Held, int]:
    """Draw what members held before, some of it by several, some of it gone since; and the partitions of now."""
    partitions = draw(st.integers(0, most_partitions))
    numbers = st.lists(st.integers(-1, most_partitions + 1), unique=True)
    members = draw(st.integers(1, most_members))
    return {f"member-{number}": draw(numbers) for number in range(members)}, partitions


def kept(held: Held, shares: Held) -> int:
    """Count the partitions that are still with a member that held them; of several that did, the last one."""
    owner = {partition: member for member, mine in held.items() for partition in mine}
    return sum(owner.get(partition) == member for member, mine in shares.items() for partition in mine)


def even_shares(members: list[str], partitions: int) -> list[Held]:
    """All ways to share so many partitions out evenly, by trying every one."""
    found = []
    for owners in itertools.product(members, repeat=partitions):
        shares = {member: [at for at, owner in enumerate(owners) if owner == member] for member in members}
        if max(map(len, shares.values())) - min(map(len, shares.values())) <= 1:
            found.append(shares)
    return found


@given(groups(most_members=40, most_partitions=200))
def test_each_partition_has_one_owner_and_no_member_has_two_more_than_another(group: tuple[Held, int]) -> None:
    held, partitions = group

    shares = share_out(held, partitions)

    assert sorted(partition for mine in shares.values() for partition in mine) == list(range(partitions))
    assert max(map(len, shares.values())) - min(map(len, shares.values())) <= 1
    assert shares.keys() == held.keys()


@given(groups(most_members=3, most_partitions=6))
def test_as_many_partitions_stay_as_in_the_best_of_all_even_ways(group: tuple[Held, int]) -> None:
    held, partitions = group

    shares = share_out(held, partitions)

    assert kept(held, shares) == max(kept(held, each) for each in even_shares([*held], partitions))


@given(members=st.integers(2, 60), partitions=st.integers(0, 300))
def test_of_a_group_at_rest_only_the_partitions_of_the_one_that_left_move_and_come_back(
    members: int, partitions: int
) -> None:
    before = share_out({f"member-{number}": [] for number in range(members)}, partitions)
    left = {member: mine for member, mine in before.items() if member != "member-0"}

    without = share_out(left, partitions)
    again = share_out({**without, "member-0": []}, partitions)

    assert share_out(before, partitions) == before
    assert kept(before, without) == partitions - len(before["member-0"])
    assert kept(without, again) == partitions - partitions // members


def test_of_two_that_say_they_held_a_partition_the_last_one_did() -> None:
    assert share_out({"a": [0, 1], "b": [1, 2]}, 4) == {"a": [0, 3], "b": [1, 2]}
