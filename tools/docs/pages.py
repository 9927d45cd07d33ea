"""The generated pages that stand in the repository, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.docs.alerts import alerts_page
from tools.docs.commands import commands_page
from tools.docs.metrics import metrics_page
from tools.docs.reasons import reasons_page
from tools.docs.rooms import rooms_picture
from tools.docs.settings import settings_page
from tools.docs.task_file import task_file_page

# They are committed, so that whoever reads the repository without building the site has them too; a test compares them
# with what the code gives.
PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/settings.md": settings_page,
    "docs/reference/task-file.md": task_file_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/reasons.md": reasons_page,
    "docs/reference/alerts.md": alerts_page,
    "docs/images/rooms.svg": rooms_picture,
}


def write_pages(root: Path = Path()) -> None:
    """Write every page."""
    for name, made in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(made())
