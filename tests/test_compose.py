"""docker-compose.yml and what it mounts: hardened, and it names only what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from stream_app.local.jars import KAFKA_VERSION
from stream_app.settings import PREFIX, Settings
from stream_app.worker.supervisor import STOP_PATIENCE_S
from tests.commands import ROOT, parse
from tests.containers import (
    OURS,
    compose,
    image_environment,
    listeners,
    mounts,
    published,
    routes,
    services,
    settings_of,
)
from tests.prometheus import promtool

CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
ALWAYS = {"kafka", "topics", "worker", "prometheus", "grafana"}


# Hardened.


@pytest.mark.parametrize("service", services())
def test_a_service_can_write_only_where_it_must_and_has_a_limit(service: str) -> None:
    content = services()[service]

    assert content["read_only"] is True
    assert content["cap_drop"] == ["ALL"]
    assert content["security_opt"] == ["no-new-privileges:true"]
    assert set(content["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert content.get("user") not in {"root", "0"}


@pytest.mark.parametrize("service", services())
def test_an_image_is_of_one_version(service: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", services()[service]["image"])


def test_no_password_stands_in_the_environment() -> None:
    names = [name for service in services().values() for name in service.get("environment", {})]

    assert not [name for name in names if "PASSWORD" in name and not name.endswith("_FILE")]


def test_a_worker_has_the_time_that_its_supervisor_takes() -> None:
    assert int(services()["worker"]["stop_grace_period"].removesuffix("s")) > STOP_PATIENCE_S


# Prometheus and Grafana.


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_what_is_mounted_is_there_and_cannot_be_changed(service: str) -> None:
    assert mounts(service)
    for text in services()[service]["volumes"]:
        source, *rest = text.split(":")
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert rest[1:] == ["ro"]


def test_prometheus_accepts_its_configuration_with_the_rules(tmp_path: Path) -> None:
    for place, source in mounts("prometheus").items():
        (tmp_path / PurePosixPath(place).name).write_text((ROOT / source).read_text())

    assert "rules found" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_prometheus_reads_the_file_that_is_mounted_and_scrapes_every_worker() -> None:
    options = dict(word.lstrip("-").split("=", 1) for word in services()["prometheus"]["command"])
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]

    assert mounts("prometheus")[options["config.file"]] == "./deploy/prometheus.yml"
    assert f"prometheus:{options['storage.tsdb.path']}" in services()["prometheus"]["volumes"]
    assert job["job_name"] == "caststream"
    assert discovery["names"] == ["worker"]
    assert discovery["port"] == settings_of("worker").metrics_port


def test_grafana_shows_our_dashboards_of_that_prometheus() -> None:
    (source,) = yaml.safe_load((ROOT / "deploy/grafana/datasource.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/dashboards.yml").read_text())["providers"]
    home = PurePosixPath(services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    folder = provider["options"]["path"]

    assert source["url"] == f"http://prometheus:{next(iter(published('prometheus')))}"
    assert mounts("grafana")[folder] == "./dashboards/grafana"
    assert str(home.parent) == folder
    assert (ROOT / "dashboards" / "grafana" / home.name).exists()
    assert all("/etc/grafana/provisioning/" in at for at, file in mounts("grafana").items() if file.endswith(".yml"))


def test_health_checks_ask_the_port_that_is_published() -> None:
    for service in ("prometheus", "grafana"):
        check = " ".join(services()[service]["healthcheck"]["test"])
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", check)
        assert int(port) in published(service)


# What the services run.


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_a_command_that_exists_with_settings_that_are_accepted(service: str) -> None:
    assert parse([str(word) for word in services()[service]["command"]])
    assert settings_of(service).broker


@pytest.mark.parametrize("service", OURS)
def test_a_service_reads_the_tasks_that_are_given_from_the_folder_that_is_mounted(service: str) -> None:
    mounted = [text.split(":") for text in services()[service]["volumes"] if text.startswith("./")]
    given = settings_of(service, CASTSTREAM_TASKS="signal,/tasks/pump.toml")

    assert [(at, how) for _, at, how in mounted] == [("/tasks", "ro")]
    assert (ROOT / mounted[0][0] / "README.md").exists()
    assert settings_of(service).tasks == Settings().tasks
    assert given.tasks == "signal,/tasks/pump.toml"


def test_no_task_of_somebodys_own_can_be_committed() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/tasks/pump.onnx"], cwd=ROOT, check=False)

    assert ignored.returncode == 0


def test_the_services_of_the_whole_path_are_there() -> None:
    commands = [" ".join(services()[service]["command"][:2]) for service in OURS]

    assert {"topics create", "worker", "generate signals", "generate castings"} <= set(commands)
    assert {service for service in services() if "profiles" not in services()[service]} == ALWAYS


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


def test_the_workers_metrics_are_for_the_network_and_all_ports_of_this_machine_for_it_alone() -> None:
    settings = settings_of("worker")

    assert services()["worker"]["expose"] == [str(settings.metrics_port)]
    assert not published("worker"), "two workers cannot have one port"
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


@pytest.mark.parametrize("kind", ["signals", "castings"])
def test_the_replay_plays_the_file_that_was_generated_for_it(kind: str) -> None:
    generate, replay = services()[f"generate-{kind}"], services()[f"replay-{kind}"]
    generated, played = (parse(service["command"])["file"] for service in (generate, replay))

    assert generate["command"][:2] == ["generate", kind]
    assert played == generated
    assert replay["volumes"] == generate["volumes"]
    place = replay["volumes"][0].split(":")[1]
    assert str(generated.parent) == place == image_environment()[f"{PREFIX}DATA_DIR"]


def test_every_volume_is_declared_and_used() -> None:
    used = {text.split(":")[0] for service in services().values() for text in service.get("volumes", [])}

    assert {name for name in used if not name.startswith("./")} == set(compose()["volumes"])
