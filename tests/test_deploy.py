"""deploy: the Kubernetes manifest by Kubernetes' own schemas, the unit by systemd; they name only what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stream_app.settings import Settings
from stream_app.worker.supervisor import STOP_PATIENCE_S
from tests.commands import PROGRAM, ROOT, parse
from tests.containers import OURS, deployed_settings, dockerfile, routes, services, settings_from, settings_of
from tests.prometheus import names_in, names_of_a_worker, promtool

KUBERNETES = ROOT / "deploy" / "kubernetes"
UNIT = ROOT / "deploy" / "systemd" / "caststream.service"
OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.29", "1.37"
# `systemd-analyze security`: 0 is a sandboxed service, 10 one that may do everything.
EXPOSURE = 2.0


# Kubernetes.


@cache
def resources() -> dict[str, dict[str, Any]]:
    """Kind -> resource."""
    found = list(yaml.safe_load_all((KUBERNETES / "caststream.yml").read_text()))
    assert len({resource["kind"] for resource in found}) == len(found)
    return {resource["kind"]: resource for resource in found}


def pod(kind: str) -> dict[str, Any]:
    """The pods of a Job or a Deployment: their specification."""
    spec: dict[str, Any] = resources()[kind]["spec"]["template"]["spec"]
    return spec


def labels(kind: str) -> dict[str, str]:
    """The labels of its pods."""
    found: dict[str, str] = resources()[kind]["spec"]["template"]["metadata"]["labels"]
    return found


PODS = ["Job", "Deployment"]


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
@pytest.mark.parametrize("kind", resources())
def test_kubernetes_accepts_it(kind: str, version: str) -> None:
    kubernetes_validate.validate(resources()[kind], version, strict=True)


def test_kubernetes_refuses_what_is_wrong() -> None:
    """So that the test above is able to fail."""
    wrong = yaml.safe_load(yaml.safe_dump(resources()["Deployment"]))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 45

    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(wrong, NEWEST_KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_runs_a_command_that_exists_with_settings_that_are_accepted(kind: str, tmp_path: Path) -> None:
    (container,) = pod(kind)["containers"]
    environment = resources()["ConfigMap"]["data"]
    secret, tasks = pod(kind)["volumes"]
    mount, tasks_mount = container["volumeMounts"]

    assert parse(container["args"])
    assert container["envFrom"] == [{"configMapRef": {"name": resources()["ConfigMap"]["metadata"]["name"]}}]
    assert mount["name"] == secret["name"]
    for name in ("CASTSTREAM_SSL_CAFILE", "CASTSTREAM_SASL_PASSWORD_FILE"):
        assert Path(environment[name]).parent == Path(mount["mountPath"])
    environment = environment | {each["name"]: each["value"] for each in container.get("env", [])}
    assert deployed_settings(environment, tmp_path).security_protocol == "SASL_SSL"
    assert deployed_settings(environment, tmp_path).tasks == Settings().tasks
    assert (tasks_mount["name"], tasks_mount["mountPath"]) == (tasks["name"], "/tasks")
    assert all(each["readOnly"] for each in container["volumeMounts"])


def test_both_kinds_of_pods_have_the_same_tasks_and_start_without_any_of_the_users_own() -> None:
    of_job, of_workers = (pod(kind)["volumes"][1]["configMap"] for kind in PODS)
    (made,) = re.findall(r"create configmap (\S+)", (KUBERNETES / "caststream.yml").read_text())

    assert of_job == of_workers == {"name": made, "optional": True}


def test_the_secrets_are_made_of_the_files_that_the_settings_name() -> None:
    text = (KUBERNETES / "caststream.yml").read_text()
    environment = resources()["ConfigMap"]["data"]
    named = {Path(environment[name]).name for name in ("CASTSTREAM_SSL_CAFILE", "CASTSTREAM_SASL_PASSWORD_FILE")}
    made = dict(re.findall(r"create secret generic (\S+) (.*)", text))

    assert set(made) == {pod(kind)["volumes"][0]["secret"]["secretName"] for kind in PODS}
    for options in made.values():
        assert set(re.findall(r"--from-file=(\S+)", options)) == named


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_is_sandboxed_as_the_image_allows(kind: str) -> None:
    spec = pod(kind)
    (container,) = spec["containers"]
    (created,) = [rest for rest in dockerfile("RUN") if "useradd" in rest]

    assert container["image"] == services()[OURS[0]]["image"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {spec['securityContext']['runAsUser']} " in created
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "CASTSTREAM_PORT of a Service is no setting"
    assert "memory" in container["resources"]["limits"]


def test_probes_and_annotations_ask_what_a_worker_serves() -> None:
    (container,) = pod("Deployment")["containers"]
    (port,) = container["ports"]
    annotations = resources()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    settings = settings_of("worker")
    probes = [container[f"{when}Probe"]["httpGet"] for when in ("startup", "liveness", "readiness")]

    assert port["containerPort"] == settings.metrics_port == int(annotations["prometheus.io/port"])
    assert [probe["path"] for probe in probes] == ["/healthz", "/healthz", "/readyz"]
    assert {probe["path"] for probe in probes} | {annotations["prometheus.io/path"]} <= routes()
    assert {probe["port"] for probe in probes} == {port["name"]}
    assert resources()["ConfigMap"]["data"]["CASTSTREAM_METRICS_HOST"] == settings.metrics_host


def test_what_belongs_together_selects_the_workers_pods() -> None:
    selectors = {
        "Deployment": resources()["Deployment"]["spec"]["selector"],
        "PodDisruptionBudget": resources()["PodDisruptionBudget"]["spec"]["selector"],
        "NetworkPolicy": resources()["NetworkPolicy"]["spec"]["podSelector"],
    }
    target = resources()["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]

    for kind, selector in selectors.items():
        assert selector["matchLabels"].items() <= labels("Deployment").items(), kind
    assert not selectors["Deployment"]["matchLabels"].items() <= labels("Job").items()
    assert target["name"] == resources()["Deployment"]["metadata"]["name"]
    assert "replicas" not in resources()["Deployment"]["spec"], "each apply would undo the autoscaler"
    assert resources()["NetworkPolicy"]["spec"]["ingress"][0]["ports"][0]["port"] == "metrics"


def test_there_are_never_more_workers_than_partitions_and_each_has_time_to_stop() -> None:
    partitions = int(resources()["ConfigMap"]["data"]["CASTSTREAM_PARTITIONS"])

    assert resources()["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] <= partitions
    assert pod("Deployment")["terminationGracePeriodSeconds"] > STOP_PATIENCE_S


def adapter_rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((KUBERNETES / "prometheus-adapter.yml").read_text())["externalRules"]
    return found


def test_the_autoscaler_asks_for_the_figures_that_the_adapter_gives() -> None:
    metrics = resources()["HorizontalPodAutoscaler"]["spec"]["metrics"]

    assert [metric["external"]["metric"]["name"] for metric in metrics] == [
        rule["name"]["as"] for rule in adapter_rules()
    ]


def test_the_adapter_asks_of_metrics_that_there_are() -> None:
    for rule in adapter_rules():
        found = names_in(rule["seriesQuery"]) | names_in(rule["metricsQuery"].replace("<<.Series>>", "up"))
        assert found
        assert found <= names_of_a_worker()


def test_prometheus_in_the_cluster_finds_the_pods_under_the_job_name_of_the_alerts(tmp_path: Path) -> None:
    content = yaml.safe_load((KUBERNETES / "prometheus-scrape.yml").read_text())
    (job,) = content["scrape_configs"]
    (keep,) = [rule for rule in job["relabel_configs"] if "container_port_name" in str(rule["source_labels"])]
    (container,) = pod("Deployment")["containers"]

    assert job["job_name"] == "caststream"
    assert keep["regex"] == f"{labels('Deployment')['app.kubernetes.io/name']};{container['ports'][0]['name']}"
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]  # Debian's promtool knows no Kubernetes
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(content))
    assert "SUCCESS" in promtool("check", "config", config)


# systemd.


def unit(*, password: bool = False) -> str:
    """The unit with the program of this machine; with the lines for a password, which are commented out."""
    program = str(Path(sys.executable).parent / PROGRAM)
    text = UNIT.read_text().replace("/opt/caststream/bin/caststream", program)
    return re.sub(r"^#(LoadCredential|Environment)=", r"\1=", text, flags=re.MULTILINE) if password else text


def values(name: str, text: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, flags=re.MULTILINE)


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine (Debian: systemd)")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("password", [False, True])
def test_systemd_accepts_the_unit(tmp_path: Path, password: bool) -> None:
    file = tmp_path / UNIT.name
    file.write_text(unit(password=password))

    done = analyze("verify", "--man=no", file)

    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_complains_of_what_is_wrong(tmp_path: Path) -> None:
    """So that the test above is able to fail."""
    file = tmp_path / UNIT.name
    file.write_text(unit().replace("KillMode=", "KilMode="))

    assert "KilMode" in analyze("verify", "--man=no", file).stderr


def test_the_service_is_sandboxed(tmp_path: Path) -> None:
    file = tmp_path / UNIT.name
    file.write_text(unit())

    done = analyze("security", "--offline=true", "--no-pager", file)

    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE


def test_the_unit_runs_a_command_that_exists_and_gives_it_time_to_stop() -> None:
    (line,) = values("ExecStart", UNIT.read_text())
    program, *words = line.split()
    password = unit(password=True)

    assert Path(program).name == PROGRAM
    assert parse(words)["workers"] > 1
    assert int(values("TimeoutStopSec", UNIT.read_text())[0]) > STOP_PATIENCE_S
    credential = values("LoadCredential", password)[0].split(":")[0]
    environment = dict(pair.split("=", 1) for pair in values("Environment", password))
    assert environment.pop("CASTSTREAM_SASL_PASSWORD_FILE") == f"%d/{credential}"
    assert settings_from(environment).log_format == "json"
