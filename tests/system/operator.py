"""An operator who calls the admin port of a gateway with the token that it made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.system.gateway import Gateway
from tests.system.model_server import MODEL
from turpin.token import SUFFIX

EXPERIMENTS = "/admin/v1/experiments"


def token_of(gateway: Gateway) -> str:
    """Return the token that a gateway on an SQLite file made."""
    store: str = yaml.safe_load(gateway.config_file.read_text())["store"]
    return Path(store.removeprefix("sqlite://") + SUFFIX).read_text().strip()


async def call(
    gateway: Gateway, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Call, and return status and body."""
    url = f"http://127.0.0.1:{gateway.admin}{path}"
    sent = {"Authorization": f"Bearer {token_of(gateway)}", "Content-Type": "application/json", **(headers or {})}
    raw = None if method == "GET" else json.dumps(body or {}).encode()
    async with aiohttp.ClientSession() as session, session.request(method, url, data=raw, headers=sent) as answer:
        return answer.status, await answer.json(content_type=None)


async def order(gateway: Gateway, verb: str, reason: str = "") -> tuple[int, Any]:
    """Give an order to the experiment."""
    return await call(gateway, "POST", f"{EXPERIMENTS}/{MODEL}:{verb}", {"reason": reason})


async def audit(gateway: Gateway) -> list[dict[str, Any]]:
    """Return all rows of the audit."""
    _, body = await call(gateway, "GET", "/admin/v1/audit")
    rows: list[dict[str, Any]] = body["audit"]
    return rows
