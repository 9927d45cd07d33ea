"""Workers that are broken on purpose, to show that the suite finds out. Each breaks one rule that results rest on."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

SLOW_OUTPUTS_S = 0.7

NO_SKIP = "no skip by offset"
NO_ACKS = "states before acks"
OFFSETS_FIRST = "offsets before states"
SLOW_OUTPUTS = "slow outputs"  # not broken: what NO_ACKS is compared with


def install(mode: str) -> None:
    """Break the worker that this process is about to run."""
    MODES[mode]()


def no_skip_by_offset() -> None:
    """A stream that was recovered takes records that its state includes once more."""
    from core.engines.base import Engine
    from core.native.streams import NO_STATE, NO_STEP

    restore = Engine._restore

    def forgetful(self: Any, partition: int, key: bytes) -> Any:
        stream = restore(self, partition, key)
        if stream.offset != NO_STATE:
            stream.offset, stream.back_step = 0, NO_STEP
        return stream

    Engine._restore = forgetful  # type: ignore[method-assign]


def states_before_acks() -> None:
    """States are written, and offsets committed, while the outputs that they include are still on their way."""
    from stream_app.flow.pipeline import Pipeline

    slow_outputs()
    cut = Pipeline.cut

    def careless(self: Any) -> Any:
        return dataclasses.replace(cut(self), acks=[])

    Pipeline.cut = careless  # type: ignore[method-assign]


def offsets_before_states() -> None:
    """Offsets are committed before the states that belong to them."""
    from stream_app.flow.commits import Committer

    write_states = Committer._write_states

    async def hasty(self: Any, cuts: Any) -> None:
        await self.guarantee.commit(self._with_metadata(self._to_commit(cuts), self._ends_of(cuts)))
        await write_states(self, cuts)

    Committer._write_states = hasty  # type: ignore[method-assign]


def slow_outputs() -> None:
    """Outputs take their time, as on a broker that is busy: nothing that a worker might not have to bear."""
    from stream_app.flow.outputs import Lane

    send = Lane._send

    async def slow(self: Any) -> None:
        if not self.topic.endswith("-changelog"):
            await asyncio.sleep(SLOW_OUTPUTS_S)
        await send(self)

    Lane._send = slow  # type: ignore[method-assign]


MODES = {
    NO_SKIP: no_skip_by_offset,
    NO_ACKS: states_before_acks,
    OFFSETS_FIRST: offsets_before_states,
    SLOW_OUTPUTS: slow_outputs,
}
