"""Files are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, with mode "x"; what stands there takes the place of ``path`` when the block ends well.

    It is beside ``path``, under a name that nobody can guess and prepare: in a folder that others may write to, a link
    could lie there. A block that ends otherwise leaves nothing behind, and ``path`` as it was.
    """
    # A name has at most 255 bytes, a character up to four.
    partial = path.with_name(f".{path.name[:50]}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
