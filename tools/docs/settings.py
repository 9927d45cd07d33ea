"""The page of all settings, from `Settings` and the texts of the command line."""

from __future__ import annotations

from pydantic import SecretStr

from stream_app.cli.options import MEANINGS, NOT_ON_THE_COMMAND_LINE
from stream_app.settings import PREFIX, Settings, accepted
from tools.docs.tables import code, page, table

INTRODUCTION = f"""
An option of the command line wins over the environment ({code(PREFIX)} and the name in capitals), which wins over
`caststream.toml` in the working directory, which wins over the default. Options are the names with dashes:
`--broker` for `broker`, `--app-id` for `app_id`. Durations are seconds. A wrong value or an unknown name is refused
at the start, with a line that says what is accepted.

What changing a setting does to a running system: [operations](../operations.md#changing-settings).
"""


def settings_page() -> str:
    """Every setting with its default, what it accepts and what it means."""
    rows = [(code(name), default(name), accepts(name), MEANINGS[name]) for name in Settings.model_fields]
    hidden = " and ".join(map(code, sorted(NOT_ON_THE_COMMAND_LINE)))
    return page(
        "Settings",
        INTRODUCTION,
        table(("setting", "default", "accepts", "meaning"), rows),
        f"{hidden} are no options of the command line: others can read it.",
    )


def default(name: str) -> str:
    """The default as a person would write it."""
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return code(str(value)) if value or value == 0 else "empty"


def accepts(name: str) -> str:
    """Say what is accepted, choices as code."""
    text = accepted(name)
    choices = text.removeprefix("one of ")
    return text if choices == text else ", ".join(map(code, choices.split(", ")))
