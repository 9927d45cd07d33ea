"""Warnings about records that a sender has probably meant otherwise, each written once."""

from __future__ import annotations

import logging

from core.engines.results import ChunkResult
from core.firsts import Firsts
from core.native.names import near_field_of

log = logging.getLogger(__name__)

MOST_NAMES = 20
"""Largest number of hints for one source, so that a sender with random names does not fill the log."""


class Hints:
    """Reports names of fields that are nearly right, and keys that stand in quotes, of one source topic.

    Args:
        source: the topic's name.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._names, self._keys = Firsts(MOST_NAMES), Firsts(1)

    def tell(self, result: ChunkResult) -> None:
        """Log what is new in a chunk's result."""
        if result.counts.near_misses:
            self._tell_names(result.counts.near_misses)
        for key in result.quoted_keys:
            if self._keys.take(key):
                self._tell_key(key)

    def _tell_names(self, names: dict[bytes, int]) -> None:
        for name in names:
            if self._names.take(name):
                log.warning(
                    "%s: field %r is ignored: the right name is %r. Samples are accepted without it (logged once)",
                    self._source,
                    name.decode("utf-8", "backslashreplace"),
                    near_field_of(name),
                )

    def _tell_key(self, key: bytes) -> None:
        text = key.decode("utf-8", "backslashreplace")[:60]
        inner = text.strip('"')
        way = f"it names another stream than {inner}" if text[:1] == '"' else "all of it is the stream's name"
        log.warning("%s: the key %s is written as JSON: %s. Send the plain name (logged once)", self._source, text, way)
