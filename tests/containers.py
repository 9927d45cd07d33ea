"""What docker-compose.yml and the Dockerfile say, for the tests of both and of `deploy`."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stream_app.settings import PREFIX, Settings, load_settings
from tests.commands import ROOT


@cache
def compose() -> dict[str, Any]:
    """docker-compose.yml."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@cache
def services() -> dict[str, Any]:
    """Its services, by name."""
    found: dict[str, Any] = compose()["services"]
    return found


OURS = [name for name, service in services().items() if service.get("build")]


@cache
def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return [(first, rest) for first, rest in pairs]


def dockerfile(instruction: str) -> list[str]:
    """What follows an instruction of the Dockerfile, for each of its places."""
    return [rest for name, rest in instructions() if name == instruction]


def image_environment() -> dict[str, str]:
    """The environment that the image sets."""
    return dict(pair.split("=", 1) for rest in dockerfile("ENV") for pair in rest.split())


def settings_of(service: str, **given: str) -> Settings:
    """The settings that a service's container loads, where the environment of Compose is ``given``."""
    environment = {name: filled_in(value, given) for name, value in services()[service]["environment"].items()}
    return settings_from(image_environment() | environment)


def filled_in(value: Any, given: Mapping[str, str]) -> Any:
    """A value with its variables, as Compose fills them in."""
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], value)


def settings_from(environment: dict[str, str]) -> Settings:
    """The settings that these variables give, whatever ours are."""
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    return load_settings(**{name[len(PREFIX) :].lower(): value for name, value in ours.items()})


def deployed_settings(environment: dict[str, str], directory: Path) -> Settings:
    """The settings of a container whose password is in a secret: in ``directory`` here, as its path is not ours."""
    place = directory / "password"
    place.write_text("secret\n")
    settings = settings_from(environment | {"CASTSTREAM_SASL_PASSWORD_FILE": str(place)})
    assert settings.client_config()["sasl.password"] == "secret"
    return settings


def published(service: str) -> dict[int, int]:
    """Port in the container -> port on this machine."""
    pairs = [text.split(":")[-2:] for text in services()[service].get("ports", [])]
    return {int(inside): int(outside) for outside, inside in pairs}


def listeners(name: str) -> dict[str, str]:
    """Listener -> address, of one of Kafka's settings."""
    text = services()["kafka"]["environment"][name]
    return dict(re.fullmatch(r"(\w+)://(.*)", listener).groups() for listener in text.split(","))  # type: ignore[union-attr]


def routes() -> set[str]:
    """The paths that a worker serves, by its source."""
    calls = ast.walk(ast.parse((ROOT / "stream_app" / "worker" / "health.py").read_text()))
    return {
        node.args[0].value
        for node in calls
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "web.get" and isinstance(node.args[0], ast.Constant)
    }


def mounts(service: str) -> dict[str, str]:
    """Place in the container -> file or folder of the repository."""
    parts = [text.split(":") for text in services()[service]["volumes"]]
    return {part[1]: part[0] for part in parts if part[0].startswith("./")}
