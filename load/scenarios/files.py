"""The files that the processes of a story start from."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from load.demo.configuration import models
from load.demo.plan import MODEL, Folder, Ports
from load.scenarios.story import Cloud, Story


def write(story: Story, folder: Folder, ports: Ports) -> None:
    """Write the gateway's configuration, the experiment, a models.config for each server, and the price feed."""
    for path in (folder.experiment, folder.store / "turpin.db"):
        path.parent.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(_yaml(gateway(story, folder, ports)), encoding="utf-8")
    folder.experiment.write_text(_yaml(story.experiment()), encoding="utf-8")
    for cloud in story.clouds:
        folder.models_of(cloud.backend).write_text(models(folder, cloud.versions), encoding="utf-8")
    feed = {cloud.backend: cloud.price_usd_per_hour for cloud in story.clouds if cloud.is_in_feed}
    if feed:
        set_prices(folder, feed)


def set_prices(folder: Folder, prices_usd_per_hour: Mapping[str, float]) -> None:
    """Put prices into the feed, all at once: a reader sees the old file or the new one."""
    beside = folder.prices.with_suffix(".new")
    beside.write_text(json.dumps(dict(prices_usd_per_hour)), encoding="utf-8")
    beside.replace(folder.prices)


def gateway(story: Story, folder: Folder, ports: Ports) -> dict[str, Any]:
    """Return `turpin.yaml`: everything on loopback, a backend for each cloud."""
    return {
        "listen": {
            "grpc": f"127.0.0.1:{ports.grpc}",
            "http": f"127.0.0.1:{ports.http}",
            "admin": f"127.0.0.1:{ports.admin}",
        },
        "store": f"sqlite:///{folder.store.resolve() / 'turpin.db'}",
        "backends": {
            cloud.backend: _backend(cloud, folder, ports.of_server(number)[0])
            for number, cloud in enumerate(story.clouds)
        },
        "experiments": [str(folder.experiment.resolve())],
    }


def _backend(cloud: Cloud, folder: Folder, port: int) -> dict[str, Any]:
    feed = {"feed": f"file:{folder.prices.name}", "key": cloud.backend}
    found: dict[str, Any] = {
        "target": f"127.0.0.1:{port}",
        "location": cloud.location,
        "price_usd_per_hour": feed if cloud.is_in_feed else cloud.price_usd_per_hour,
    }
    if cloud.is_managed:
        files = {"base_path": str(folder.models.resolve()), "versions": list(cloud.versions)}
        found |= {"control": "managed", "models": {MODEL: files}}
    if cloud.is_publishing:
        found["publish"] = str(folder.models.parent.resolve())
    return found | dict(cloud.settings)


def _yaml(document: dict[str, Any]) -> str:
    return "# Written by `turpin demo`.\n" + yaml.safe_dump(document, sort_keys=False)
