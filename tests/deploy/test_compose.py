"""docker-compose.yml is what Compose takes, leads nowhere that is not there, and gives no container more than it needs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.config import load_config
from tests.deploy.compose import BASE, CPU, mounts, read, seen_as, services, variables
from tests.repo.tree import ROOT

SERVICES = services()
ENVIRON = {"TURPIN_DECISION_KEY": "0123456789abcdef0123456789abcdef", "TURPIN_STORE": "redis://:word@redis:6379/0"}
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())


def complaints(document: Any, folder: Path) -> str:
    """Return what Compose's schema has against a document, empty when nothing."""
    file = folder / "compose.json"
    file.write_text(json.dumps(document))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        file,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if result.returncode == 0 else result.stdout + result.stderr


@pytest.mark.timeout(90)
@pytest.mark.parametrize("path", [BASE, CPU], ids=lambda path: path.name)
def test_compose_file_keeps_to_the_schema(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="make setup installs it")

    assert complaints(read(path), tmp_path) == ""
    # The schema would notice.
    assert "read_onyl" in complaints({"services": {"a": {"image": "a:1", "read_onyl": True}}}, tmp_path)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_refers_to_is_there(name: str) -> None:
    service, document = SERVICES[name], read(BASE)
    files = [source for source, _ in mounts(service) if source.startswith("./")]
    volumes = [source for source, _ in mounts(service) if not source.startswith(("./", "$"))]

    assert len(mounts(service)) == len(service["volumes"])
    assert [source for source in files if not (ROOT / source).exists()] == []
    assert set(volumes) <= set(document["volumes"])
    assert set(service["networks"]) <= set(document["networks"])
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    waited_for = service.get("depends_on", {})
    healthy = {other for other in waited_for if isinstance(waited_for, dict) and "healthy" in str(waited_for[other])}
    assert {other for other in healthy if "healthcheck" not in SERVICES[other]} == set()


def test_every_image_is_named_by_its_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    images = {service["image"] for path in (BASE, CPU) for service in read(path)["services"].values()}

    assert {image for image in images if not re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-[a-z]+)?", image)} == set()
    assert f"turpin:{project['version']}" in images


@pytest.mark.parametrize("name", SERVICES)
def test_containers_can_do_no_more_than_they_must(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


def test_published_ports_are_published_once_and_operators_ports_to_this_machine_alone() -> None:
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    hosts = [port.rpartition(":")[0] for found in ports.values() for port in found]

    assert len(hosts) == len(set(hosts))
    for name in ("prometheus", "grafana"):
        assert all(port.startswith("127.0.0.1:") for port in ports[name])
    assert ports["redis"] == ports["tfs-1"] == ports["tfs-2"] == []


def test_gateways_are_alike_but_for_ports_and_their_own_volume() -> None:
    first, second = (
        {key: value for key, value in SERVICES[name].items() if key not in ("ports", "volumes")}
        for name in ("gateway-1", "gateway-2")
    )

    assert first == second
    assert set(mounts(SERVICES["gateway-1"])) ^ set(mounts(SERVICES["gateway-2"])) == {
        ("gateway-1", "/var/lib/turpin"),
        ("gateway-2", "/var/lib/turpin"),
    }


def test_everybody_finds_whom_he_asks() -> None:
    gateway = load_config(seen_as(SERVICES["gateway-1"], "/etc/turpin/turpin.yaml"), ENVIRON)
    asked = {("gateway-1", target) for backend in gateway.backends.values() for target in backend.target}
    asked |= {("gateway-1", "redis:6379")}
    listening = {"redis:6379", "prometheus:9090"}
    for name, service in SERVICES.items():
        listening |= {f"{name}:{value}" for value in re.findall(r"--(?:rest_api_)?port=(\d+)", str(service))}
    metrics = str(gateway.listen.metrics)
    assert metrics.startswith("0.0.0.0:")
    listening |= {f"{name}:{metrics.partition(':')[2]}" for name in ("gateway-1", "gateway-2")}
    for job in PROMETHEUS["scrape_configs"]:
        asked |= {("prometheus", target) for entry in job["static_configs"] for target in entry["targets"]}
    (source,) = yaml.safe_load(
        seen_as(SERVICES["grafana"], "/etc/grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"]
    asked.add(("grafana", source["url"].removeprefix("http://")))

    assert {target for _, target in asked} <= listening
    for asker, target in asked:
        assert set(SERVICES[asker]["networks"]) & set(SERVICES[target.partition(":")[0]]["networks"]), (asker, target)
    # Redis is in the gateways' reach alone.
    assert {name for name, service in SERVICES.items() if "store" in service["networks"]} == {
        "gateway-1",
        "gateway-2",
        "redis",
    }


def test_model_servers_find_their_files() -> None:
    for name in ("tfs-1", "tfs-2"):
        command = SERVICES[name]["command"]
        files = [part.partition("=")[2] for part in command if "_file=" in part]

        assert len(files) == 3
        for file in files:
            seen_as(SERVICES[name], file)


def test_grafana_and_prometheus_find_their_files() -> None:
    (provider,) = yaml.safe_load(
        seen_as(SERVICES["grafana"], "/etc/grafana/provisioning/dashboards/turpin.yaml").read_text()
    )["providers"]

    assert list(seen_as(SERVICES["grafana"], provider["options"]["path"]).glob("*.json"))
    for pattern in PROMETHEUS["rule_files"]:
        assert list((ROOT / "deploy/prometheus").glob(pattern))
    (config,) = (part for part in SERVICES["prometheus"]["command"] if part.startswith("--config.file="))
    seen_as(SERVICES["prometheus"], config.partition("=")[2])


def test_without_gpus_only_the_model_servers_differ() -> None:
    changed = read(CPU)["services"]

    assert set(changed) == {name for name, service in SERVICES.items() if "deploy" in service}
    for name, service in changed.items():
        assert service["deploy"] is None
        assert SERVICES[name]["image"] == f"{service['image']}-gpu"


def test_the_page_says_which_variables_must_be_set() -> None:
    page = (ROOT / "docs/how-to/deploy-with-compose.md").read_text()
    needed = {name for name, rest in variables(BASE).items() if rest.startswith(":?")}

    assert needed == {"TURPIN_DECISION_KEY", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
    assert {name for name in variables(BASE) if name not in page} == set()
