"""pip's settings, from its files and environment, as the environment of uv, which reads neither."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

# Each is the same thing by another name.
SAME = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
# These do not change what is installed, or from where.
HARMLESS = {
    "break-system-packages",
    "cache-dir",
    "disable-pip-version-check",
    "no-cache-dir",
    "no-color",
    "no-input",
    "no-python-version-warning",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "retries",
    "root-user-action",
    "use-feature",
    "user",
    "verbose",
}
# A section wins over those before it, as with pip.
SECTIONS = ("global", "install", ":env:")


def pip_settings() -> dict[str, str]:
    """Read `pip config list`: the settings for an installation, by name."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    return read_list(listed.stdout.splitlines())


def read_list(lines: Iterable[str]) -> dict[str, str]:
    """The settings in lines such as ``global.index-url='https://...'``."""
    by_section: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in lines:
        key, equals, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if equals and section in by_section:
            by_section[section][name] = str(ast.literal_eval(value))
    return {name: value for section in SECTIONS for name, value in by_section[section].items()}


def uv_environment(settings: Mapping[str, str]) -> dict[str, str] | None:
    """The variables that make uv do as pip would; None where a setting has no counterpart, so that pip must be used."""
    if not settings.keys() <= SAME.keys() | HARMLESS:
        return None
    variables = {SAME[name]: " ".join(value.split()) for name, value in settings.items() if name in SAME}
    if links := variables.pop("UV_FIND_LINKS", "").split():
        # pip passes over a folder that is not there; uv would refuse.
        variables["UV_FIND_LINKS"] = ",".join(link for link in links if "://" in link or Path(link).exists())
    if "UV_INDEX" in variables:  # pip takes the best version of all indexes
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables
