"""docker-compose.yml and Dockerfile name only what there is: commands, options, settings, ports, paths, topics."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from commands import PROGRAM, ROOT, parse

from stream_app.jars import KAFKA_VERSION
from stream_app.settings import PREFIX, Settings, load_settings

CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
# The one address that may stand in the repository: PyTorch's own wheels without CUDA.
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


@cache
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@cache
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


OURS = [name for name, service in services().items() if service.get("build")]


@cache
def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return [(first, rest) for first, rest in pairs]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in of("ENV") for pair in rest.split())


def settings_of(service: str) -> Settings:
    """The settings that a service's container loads."""
    environment = image_environment() | services()[service]["environment"]
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    return load_settings(**{name[len(PREFIX) :].lower(): value for name, value in ours.items()})


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
    calls = ast.walk(ast.parse((ROOT / "stream_app" / "health.py").read_text()))
    return {
        node.args[0].value
        for node in calls
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "web.get" and isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_a_command_that_exists_with_settings_that_are_accepted(service: str) -> None:
    assert parse([str(word) for word in services()[service]["command"]])
    assert settings_of(service).broker


def test_the_services_of_the_whole_path_are_there() -> None:
    commands = [" ".join(services()[service]["command"][:2]) for service in OURS]

    assert {"topics create", "worker", "generate signals"} <= set(commands)
    assert [service for service in OURS if services()[service]["command"][0] == "replay"]
    assert {service for service in services() if "profiles" not in services()[service]} == {"kafka", "topics", "worker"}


def test_kafka_is_the_version_that_is_tested_here() -> None:
    assert services()["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


@pytest.mark.parametrize("service", OURS)
def test_a_service_looks_for_kafka_where_kafka_says_it_is(service: str) -> None:
    assert settings_of(service).broker == listeners("KAFKA_ADVERTISED_LISTENERS")["INTERNAL"]
    assert settings_of(service).broker.split(":")[0] in services()


def test_kafka_is_reached_from_this_machine_at_the_default_address() -> None:
    port = int(listeners("KAFKA_LISTENERS")["HOST"].lstrip(":"))

    assert listeners("KAFKA_ADVERTISED_LISTENERS")["HOST"] == Settings().broker
    assert f"127.0.0.1:{published('kafka')[port]}" == Settings().broker


def test_each_kafka_listener_has_a_port_and_a_protocol() -> None:
    environment = services()["kafka"]["environment"]
    protocols = dict(pair.split(":") for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    ports = {name: address.rpartition(":")[2] for name, address in listeners("KAFKA_LISTENERS").items()}
    _, _, controller = environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].partition("@")

    assert protocols.keys() == ports.keys()
    assert set(protocols.values()) == {settings_of("worker").security_protocol}
    assert len(set(ports.values())) == len(ports)
    assert controller == f"kafka:{ports['CONTROLLER']}"


def test_kafka_makes_no_topics_by_itself_and_copies_no_more_than_one_node_can_hold() -> None:
    environment = services()["kafka"]["environment"]
    copies = [value for name, value in environment.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))]

    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert len(copies) == 5
    assert set(copies) == {1}
    assert settings_of("topics").replication_factor == 1


def test_the_workers_metrics_are_published_on_their_port_and_only_on_this_machine() -> None:
    settings = settings_of("worker")

    assert published("worker") == {settings.metrics_port: settings.metrics_port}
    assert settings.metrics_host == "0.0.0.0"
    assert all(text.startswith("127.0.0.1:") for service in services() for text in services()[service].get("ports", []))


def test_the_workers_health_check_asks_a_path_that_it_serves() -> None:
    check = " ".join(services()["worker"]["healthcheck"]["test"])
    [(port, path)] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)

    assert int(port) == settings_of("worker").metrics_port
    assert path in routes()


def test_services_wait_for_services_that_there_are() -> None:
    for service in services().values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "healthcheck" in services()[other]
            assert how["condition"] != "service_completed_successfully" or "restart" not in services()[other]


def test_the_replay_plays_the_file_that_was_generated_for_it() -> None:
    generated, played = (parse(services()[service]["command"])["file"] for service in ("generate", "replay"))

    assert played == generated
    assert services()["replay"]["volumes"] == services()["generate"]["volumes"]
    place = services()["replay"]["volumes"][0].split(":")[1]
    assert str(generated.parent) == place == image_environment()[f"{PREFIX}DATA_DIR"]


def test_every_volume_is_declared_and_used() -> None:
    used = {text.split(":")[0] for service in services().values() for text in service.get("volumes", [])}

    assert used == set(compose()["volumes"])


def test_the_image_is_named_by_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert {services()[service]["image"] for service in OURS} == {f"{PROGRAM}:{version}"}


def test_the_dockerfile_copies_what_there_is_and_what_the_context_holds() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    sources = [word for rest in of("COPY") for word in rest.split()[:-1]]

    assert ignored[-1] == "**/__pycache__"
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert {"core", "replay", "stream_app", "setup.py", "constraints.txt", "README.md", "LICENSE"} <= set(sources)


def test_the_image_runs_a_command_that_exists_as_an_ordinary_user() -> None:
    assert of("ENTRYPOINT") == [f'["{PROGRAM}"]']
    assert parse(ast.literal_eval(of("CMD")[0]))
    assert of("USER") == [PROGRAM]
    assert settings_of("worker").data_dir.as_posix() in of("VOLUME")


def test_the_image_has_a_python_that_the_package_accepts_and_pinned_packages() -> None:
    bases = {rest.split(" AS ")[0] for rest in of("FROM")}  # compiled for the Python that runs it
    [version] = re.findall(r"^python:(3\.\d+)\.\d+-slim", bases.pop())
    accepted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    installs = [rest for rest in of("RUN") if "pip install" in rest]

    assert not bases
    assert accepted == f">={version}"
    assert len(installs) == 2
    assert all("-c constraints.txt" in rest for rest in installs)


def test_the_compiler_stays_in_the_first_stage() -> None:
    names = [name for name, _ in instructions()]
    last = len(names) - names[::-1].index("FROM")
    final = [rest for name, rest in instructions()[last:] if name in {"RUN", "COPY"}]

    assert any("g++" in rest for rest in of("RUN"))
    assert final
    assert not any("g++" in rest or "pip wheel" in rest for rest in final)


def test_torch_alone_comes_from_an_address_of_its_own() -> None:
    addresses = re.findall(r"https?://[^\s\"']+", "\n".join(rest for _, rest in instructions()))
    [torch] = [rest for rest in of("RUN") if "TORCH_INDEX" in rest]

    assert addresses == [TORCH_INDEX]
    assert torch.split()[-1] == "torch"
    assert "--no-deps" in torch


def test_paths_in_the_image_are_absolute_or_made_by_it() -> None:
    made = " ".join(of("RUN"))

    for place in of("WORKDIR"):
        assert PurePosixPath(place).is_absolute()
    assert f"-o {PROGRAM}" in made
    assert image_environment()[f"{PREFIX}DATA_DIR"] in made
