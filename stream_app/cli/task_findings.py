"""The findings of a model's check, as text for a person."""

from __future__ import annotations

from collections.abc import Iterator

from core.tasks.check.findings import Checked

_STREAMS = 1_000
_PLANS = {
    "any": "rows run together as they come",
    "pad 2": "a row alone runs with a second one of zeros",
    "pad 8": "batches are filled up to a multiple of 8 rows",
    "one by one": "each row runs alone, which is slow",
}


def found(name: str, checked: Checked, commit_interval: float) -> Iterator[str]:
    """The lines about a model that has passed; ``commit_interval`` in seconds."""
    yield f"{name}: the model can run; fingerprint {checked.fingerprint}"
    for state in checked.states:
        yield f"  state {state.before} -> {state.after} {list(state.shape)}"
    for tensor, shape in checked.outputs.items():
        yield f"  output {tensor} {list(shape)}"
    yield f"  batch plan '{checked.plan}': {_PLANS[checked.plan]}; a row has the same bits in every batch"
    if checked.example is not None:
        count, apart = checked.example
        unit = "steps" if checked.states else "windows"
        yield f"  example: {count} {unit} agree; largest difference {apart:.2g} of the largest value"
    costs = ", ".join(f"{cost:.3g} with {rows:,}" for rows, cost in checked.microseconds.items())
    yield f"  µs per row: {costs} rows in a call"
    if not checked.states:
        yield from (f"  note: {note}" for note in checked.notes)
        return
    megabytes = _STREAMS * checked.state_bytes / commit_interval / 1e6
    yield (
        f"  state: {checked.state_bytes:,} bytes per stream; {_STREAMS:,} streams that never rest write "
        f"{megabytes:.3g} MB/s to the changelog, at a commit every {commit_interval:g} s"
    )
    yield from (f"  note: {note}" for note in checked.notes)
