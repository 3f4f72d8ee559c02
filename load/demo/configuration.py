"""The files the two services start from: the gateway's configuration, the experiment, the model server's models."""

import socket
from collections.abc import Sequence
from typing import Any

import yaml

from load.demo.plan import (
    ARMS,
    CONTROL,
    EXPERIMENT,
    FORM_DIGITS,
    MODEL,
    PLANS,
    PRICE_USD_PER_HOUR,
    VALUE_USD,
    Folder,
    Ports,
)

BACKEND = "tfs-a"


class PortTaken(Exception):
    """One of the ports is in use."""


def write(folder: Folder, ports: Ports) -> None:
    """Write all three files into `folder`, which exists."""
    for path in (folder.experiment, folder.store / "turpin.db"):
        path.parent.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(_yaml(gateway(folder, ports)), encoding="utf-8")
    folder.experiment.write_text(_yaml(experiment()), encoding="utf-8")
    folder.model_config.write_text(models(folder, [plan.version for plan in PLANS]), encoding="utf-8")


def gateway(folder: Folder, ports: Ports) -> dict[str, Any]:
    """Return `turpin.yaml`: everything on loopback, one model server whose models are Turpin's to unload."""
    return {
        "listen": {
            "grpc": f"127.0.0.1:{ports.grpc}",
            "http": f"127.0.0.1:{ports.http}",
            "admin": f"127.0.0.1:{ports.admin}",
        },
        "store": f"sqlite:///{folder.store.resolve() / 'turpin.db'}",
        "backends": {
            BACKEND: {
                "target": f"127.0.0.1:{ports.model_grpc}",
                "price_usd_per_hour": PRICE_USD_PER_HOUR,
                "control": "managed",
                # Two cores carry the model server, the gateway and the client: a second call would only slow the first
                # down. Meanwhile the next batch grows: 4 rows with two calls in flight, 11 with one (measured).
                "max_in_flight": 1,
                "models": {
                    MODEL: {
                        "base_path": str(folder.models.resolve()),
                        "versions": [plan.version for plan in PLANS],
                    }
                },
            }
        },
        "experiments": [str(folder.experiment.resolve())],
    }


def experiment() -> dict[str, Any]:
    """Return the experiment: which of three versions earns most, asked over seconds instead of days.

    Traffic is steady and rewards come at once, so blocks of 2 s and a window of 10 s are enough, and there is no daily
    cycle to wait for. min_age lets a person see the shares move.
    """
    return {
        "name": EXPERIMENT,
        "model": MODEL,
        "entry_labels": ["stable"],
        "control": CONTROL,
        "arms": [{"name": plan.arm, "backend": BACKEND, "model": MODEL, "version": plan.version} for plan in PLANS],
        "objective": {
            "kind": "net",
            "value_usd": VALUE_USD,
            "reward": {"type": "binary", "range": [0, 1], "window": "10s", "feedback": "explicit"},
        },
        "policy": {"kind": "thompson", "block": "2s", "refresh": "1s", "floor": 0.01},
        "stop": {"cycle": None, "min_age": "10s"},
        "on_stop": {"action": "retire", "grace": "0s", "unload": True},
        # The images of one form fit into one batch; 80 ms is what a person takes for immediate.
        "batching": {"latency_ms": 80, "max_rows": FORM_DIGITS},
    }


def models(folder: Folder, loaded: Sequence[int]) -> str:
    """Return a model server's ModelServerConfig as text: what is loaded until Turpin drops some."""
    versions = " ".join(f"versions: {version}" for version in loaded)
    return (
        "model_config_list {\n"
        "  config {\n"
        f'    name: "{MODEL}"\n'
        f'    base_path: "{folder.models.resolve()}"\n'
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ {versions} }} }}\n"
        "  }\n"
        "}\n"
    )


def refuse_taken(ports: Ports) -> None:
    """Raise PortTaken when any of the ports can't be bound: better now than after the training."""
    taken = [port for port in ports.all if not _is_free(port)]
    if taken:
        listed = ", ".join(map(str, taken))
        raise PortTaken(
            f"port {listed} is in use; the demo needs {ports.all[0]}..{ports.all[-1]}: try --port-base 9500"
        )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port whose last connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _yaml(document: dict[str, Any]) -> str:
    return "# Written by `turpin demo`.\n" + yaml.safe_dump(document, sort_keys=False)


def arm_title(arm: str) -> str:
    """Return what an arm is, in words."""
    return PLANS[ARMS.index(arm)].title
