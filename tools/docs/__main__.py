"""`python -m tools.docs [--site FOLDER]`: write the generated pages; with a folder, the site's source."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.docs.pages import write_pages
from tools.docs.site import build_folder


def main() -> None:
    """Entry point."""
    write_pages()
    if sys.argv[1:2] == ["--site"]:
        build_folder(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
