"""The page of the reasons of dead letters, from the texts that stand beside the rules."""

from __future__ import annotations

from core.wire.reasons import REASON_TEXTS
from tools.docs.tables import code, page, table

INTRODUCTION = """
A record that cannot be used becomes a [dead letter](../read.md#dead-letters). Its header `error.reason` has one of
these words, and `error.message` says more: the field, the value and what is accepted. They are also the label
`reason` of `caststream_dead_letters_total`. In which order a record is judged:
[architecture](../architecture.md#what-each-record-does).
"""


def reasons_page() -> str:
    """Every reason, in the order in which a record is judged."""
    rows = [(code(name), reason.record, reason.remedy) for name, reason in REASON_TEXTS.items()]
    return page("Reasons of dead letters", INTRODUCTION, table(("`error.reason`", "the record", "what to do"), rows))
