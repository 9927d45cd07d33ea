"""Another checkout of caststream, whose workers run beside ours in one benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.errors import StartupError
from stream_app.settings import PREFIX, Settings, foreign_environment

ASK = "import stream_app.settings as s; print(s.__file__, *s.Settings.model_fields)"


@dataclass
class Checkout:
    """The folder of a checkout with its compiled parts. Its packages come before ours on the path of its processes.

    Raises:
        StartupError: at the first use, if there is no caststream that can be imported.
    """

    root: Path

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The same settings as environment variables, without those that it does not know."""
        known = self._settings
        kept = {name: value for name, value in settings.items() if name.removeprefix(PREFIX).lower() in known}
        return kept | self._path

    def process_environment(self, settings: Settings) -> dict[str, str]:
        """The whole environment of a process of it that is to have these settings, as far as it knows them."""
        return foreign_environment() | self.environment(settings.environment())

    @property
    def version(self) -> str:
        """The commit, or the folder's name where it is not git's."""
        command = ["git", "-C", str(self.root), "rev-parse", "--short", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return f"caststream {done.stdout.strip() or self.root.name}"

    @property
    def _path(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.root.resolve())}

    @cached_property
    def _settings(self) -> set[str]:
        """The names of the settings that it knows."""
        if not (self.root / "stream_app" / "settings.py").exists():
            raise StartupError(f"{self.root}: no checkout of caststream; --against takes the folder of one")
        command, environment = [sys.executable, "-c", ASK], os.environ | self._path
        done = subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True, check=False)
        file, *names = done.stdout.split() or [""]
        if done.returncode or not Path(file).is_relative_to(self.root.resolve()):
            said = (done.stderr.strip().splitlines() or [f"{file} is imported instead"])[-1]
            raise StartupError(f"{self.root}: caststream cannot be imported from there: {said}")
        return set(names)
