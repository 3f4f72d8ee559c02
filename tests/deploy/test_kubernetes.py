"""The manifests are what Kubernetes takes, agree with docker-compose.yml, and give no pod more than it needs."""

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from router.config import load_config
from tests.deploy.compose import services
from tests.deploy.test_compose import ENVIRON
from tests.repo.tree import ROOT

FOLDER: Final = ROOT / "deploy/kubernetes"
BASE: Final = FOLDER / "base"
KUSTOMIZATION: Final[dict[str, Any]] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
DOCUMENTS: Final[list[dict[str, Any]]] = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((BASE / name).read_text())
]
PAGE: Final = ROOT / "docs/how-to/deploy-on-kubernetes.md"


def of(kind: str) -> dict[str, dict[str, Any]]:
    """Return the documents of a kind by their names."""
    return {one["metadata"]["name"]: one for one in DOCUMENTS if one["kind"] == kind}


WORKLOADS: Final = of("Deployment") | of("StatefulSet")
each_workload = pytest.mark.parametrize("name", WORKLOADS)


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return found


def complaint(document: dict[str, Any]) -> str:
    """Return what the schema of the newest Kubernetes has against a document, empty when nothing."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make setup installs it")
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def test_every_manifest_keeps_to_the_schema() -> None:
    assert {one["metadata"]["name"]: found for one in DOCUMENTS if (found := complaint(one))} == {}
    # It would notice.
    bad = copy.deepcopy(WORKLOADS["gateway"])
    bad["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in complaint(bad)


@pytest.mark.parametrize("folder", ["base", "overlays/cpu"])
def test_kustomize_builds_it(folder: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(
        [kubectl, "kustomize", FOLDER / folder], capture_output=True, text=True, check=False, timeout=20
    )

    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    assert len(documents) == len(DOCUMENTS) + len(KUSTOMIZATION["configMapGenerator"])
    (serving,) = (one for one in documents if one["kind"] == "Deployment" and one["metadata"]["name"] == "tf-serving")
    (container,) = serving["spec"]["template"]["spec"]["containers"]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == container["image"].endswith("-gpu")
    assert container["image"].endswith("-gpu") == (folder == "base")


def test_feeds_of_prices_are_reached_only_where_they_are_asked_for(tmp_path: Path) -> None:
    (policy,) = yaml.safe_load_all((FOLDER / "components/price-feeds/network.yaml").read_text())
    assert complaint(policy) == ""
    (rule,) = policy["spec"]["egress"]
    assert (rule["ports"], policy["spec"]["podSelector"]) == ([{"port": 443}], {"matchLabels": {"app": "gateway"}})
    # What a cluster keeps to itself stays out of reach, above all the metadata of its machines.
    closed = [network for block in rule["to"] for network in block["ipBlock"]["except"]]
    assert {"169.254.0.0/16", "10.0.0.0/8", "fc00::/7"} <= set(closed)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    own = tmp_path / "kubernetes/overlays/own"
    own.mkdir()
    text = "resources: [../../base]\ncomponents: [../../components/price-feeds]\n"
    (own / "kustomization.yaml").write_text(f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{text}")
    built = subprocess.run([kubectl, "kustomize", own], capture_output=True, text=True, check=False, timeout=20)

    assert built.returncode == 0, built.stderr
    policies = [one for one in yaml.safe_load_all(built.stdout) if one["kind"] == "NetworkPolicy"]
    assert {one["metadata"]["name"] for one in policies} == {"price-feeds", *of("NetworkPolicy")}


def test_configuration_is_that_of_compose() -> None:
    deploy = ROOT / "deploy"
    copies = {
        "digits.yaml": deploy / "gateway/experiments/digits.yaml",
        "redis.conf": deploy / "redis/redis.conf",
        **{f"{name}.config": deploy / f"tf-serving/{name}.config" for name in ("models", "batching", "monitoring")},
    }
    named = {file for one in KUSTOMIZATION["configMapGenerator"] for file in one["files"]}

    assert named == {*copies, "turpin.yaml"}
    # kustomize reads nothing outside of its folder, so these are copies.
    assert [name for name, source in copies.items() if (BASE / name).read_text() != source.read_text()] == []


def test_gateways_run_as_in_compose_but_for_the_address_of_the_model_servers(tmp_path: Path) -> None:
    shutil.copy(BASE / "turpin.yaml", tmp_path)
    (tmp_path / "experiments").mkdir()
    shutil.copy(BASE / "digits.yaml", tmp_path / "experiments")

    here = load_config(tmp_path / "turpin.yaml", ENVIRON).to_json()
    there = load_config(ROOT / "deploy/gateway/turpin.yaml", ENVIRON).to_json()

    assert here["backends"]["gpu"].pop("target") == ["tf-serving:8500"]
    there["backends"]["gpu"].pop("target")
    assert here == there


def test_images_are_those_of_compose() -> None:
    here = {container["image"] for name in WORKLOADS for container in pod(name)["containers"]}

    assert here == {services()[name]["image"] for name in ("gateway-1", "redis", "tfs-1")}


@each_workload
def test_pods_can_do_no_more_than_they_must(name: str) -> None:
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert pod(name)["securityContext"]["runAsUser"] > 0
    for container in pod(name)["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


@each_workload
def test_pods_are_probed_at_ports_they_have(name: str) -> None:
    for container in pod(name)["containers"]:
        ports = {port["name"] for port in container["ports"]}
        probes = [container[f"{probe}Probe"] for probe in ("startup", "readiness", "liveness")]

        asked = [how["port"] for probe in probes for kind, how in probe.items() if kind in ("httpGet", "tcpSocket")]
        assert asked
        assert set(asked) <= ports


@each_workload
def test_what_a_pod_refers_to_is_there(name: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(name).get("volumes", ())}
    claimed = {one["metadata"]["name"] for one in WORKLOADS[name]["spec"].get("volumeClaimTemplates", ())}
    maps = {one["name"] for one in KUSTOMIZATION["configMapGenerator"]}

    for container in pod(name)["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} == {*volumes, *claimed}
        for variable in container.get("env", ()):
            secret = variable["valueFrom"]["secretKeyRef"]
            assert f"kubectl -n turpin create secret generic {secret['name']}" in PAGE.read_text()
            assert f"--from-literal={secret['key']}=" in PAGE.read_text()
    assert {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume} <= maps
    claims = {
        volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "persistentVolumeClaim" in volume
    }
    assert claims <= set(of("PersistentVolumeClaim"))


@each_workload
def test_each_workload_has_a_service_a_budget_and_a_policy(name: str) -> None:
    labels = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for container in pod(name)["containers"] for port in container["ports"]}

    assert WORKLOADS[name]["spec"]["selector"]["matchLabels"] == labels
    assert of("Service")[name]["spec"]["selector"] == labels
    assert {port["targetPort"] for port in of("Service")[name]["spec"]["ports"]} <= ports
    assert of("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels
    assert of("NetworkPolicy")[name]["spec"]["podSelector"]["matchLabels"] == labels


def test_nobody_may_call_anybody_unless_it_is_said() -> None:
    nobody = of("NetworkPolicy")["nobody"]["spec"]
    redis = of("NetworkPolicy")["redis"]["spec"]["ingress"]

    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert [one["from"] for one in redis] == [[{"podSelector": {"matchLabels": {"app": "gateway"}}}]]


def test_model_servers_are_added_by_the_age_of_the_queue() -> None:
    (scaler,) = of("HorizontalPodAutoscaler").values()
    (metric,) = scaler["spec"]["metrics"]

    assert scaler["spec"]["scaleTargetRef"]["name"] in WORKLOADS
    # Who scales says how many: a manifest that did too would undo it at each apply.
    assert "replicas" not in WORKLOADS[scaler["spec"]["scaleTargetRef"]["name"]]["spec"]
    assert metric["external"]["metric"]["name"] in PAGE.read_text()
    assert "backend:turpin_queue_age_seconds:p90_1m" in PAGE.read_text()
    assert (
        "record: backend:turpin_queue_age_seconds:p90_1m" in (ROOT / "deploy/prometheus/rules/turpin.yml").read_text()
    )
