"""A running gateway whose experiment has the demo's data: three arms compete, one wins, the losers are unloaded.

A second experiment, on another model, goes on for ever: it is there to be ordered about.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.system.client import Client
from tests.system.gateway import Gateway, configuration, endless, experiment, serving, until
from tests.system.model_server import BYSTANDER, MODEL, DigitsServer
from tests.system.test_whole_line import LINES
from tests.system.traffic import Nature, Traffic

TOKENS: Final = {"viewer": "turpin_" + "v" * 43, "operator": "turpin_" + "o" * 43}
# Of the lasting experiment, beside the rest of its traffic.
SEGMENT: Final = "mobile"
_CLIENTS: Final = 8
# Control is so much worse than the second version that the end comes soon; the third is as good, and dear.
_RATES: Final = {1: 0.80, 2: 0.975, 3: 0.98}
# A few seconds on a quiet machine; beside other jobs half a minute was seen.
_PATIENCE_S: Final = 150.0


def settings(folder: Path, target: str) -> dict[str, Any]:
    """Return the gateway's configuration: both experiments, and a token for each role."""
    tokens = [
        {"name": f"the-{role}", "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for role, token in TOKENS.items()
    ]
    lasting = endless() | {
        "name": BYSTANDER,
        "model": BYSTANDER,
        "control": "v7",
        "arms": [{"name": f"v{version}", "backend": "tfs-a", "version": version} for version in (7, 8)],
        "on_stop": {"grace": "1h"},
        "shadow": {"arms": ["v8"], "share": 1.0},
    }
    lasting["policy"] = {**lasting["policy"], "segments": [SEGMENT]}
    document = configuration(
        folder, target, admin={"tokens": tokens}, rewards={"auth": "none"}, experiments=[experiment(), lasting]
    )
    document["backends"]["tfs-a"]["egress_usd_per_gib"] = 0.09
    return document


@dataclass(slots=True)
class Story:
    """The gateway, and a session that reads what the console should show. Mutable: the gateway may be started again."""

    gateway: Gateway
    server: DigitsServer
    client: Client
    session: aiohttp.ClientSession

    async def get(self, path: str) -> Any:
        """Return an answer of the admin API, read as the viewer."""
        url = f"http://127.0.0.1:{self.gateway.admin}/admin/v1/{path}"
        async with self.session.get(url, headers={"Authorization": f"Bearer {TOKENS['viewer']}"}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def state(self, name: str = MODEL) -> dict[str, Any]:
        """Return the numbers of an experiment."""
        found: dict[str, Any] = await self.get(f"experiments/{name}/state")
        return found

    async def changed(self, name: str, before: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers once all requests since are in them: more decisions, and none that waits for its reward."""

        async def there() -> dict[str, Any] | None:
            state = await self.state(name)
            waiting = sum(arm["pending"] for arm in state["arms"])
            more = sum(arm["decisions"] for arm in state["arms"]) > sum(arm["decisions"] for arm in before["arms"])
            return state if more and not waiting else None

        found: dict[str, Any] = await until(f"more requests to {name}", there)
        return found

    async def ask(self, requests: int) -> None:
        """Send requests to the lasting experiment, every other one of its segment, and a reward for each."""
        for number in range(requests):
            metadata = [("turpin-segment", SEGMENT)] if number % 2 else []
            answer = await self.client.predict(model=BYSTANDER, metadata=metadata)
            await self.client.reward(answer.decision, 1.0)

    async def in_phase(self, name: str, *phases: str, patience_s: float = 20.0) -> None:
        """Wait until an experiment is in one of these phases."""

        async def there() -> bool:
            return (await self.state(name))["phase"] in phases

        await until(f"{name} in {phases}", there, patience_s)


@contextlib.asynccontextmanager
async def telling(folder: Path) -> AsyncIterator[Story]:
    """Start the gateway, and let the experiment come to its end; a few requests go on to the other one."""
    async with (
        DigitsServer(LINES) as server,
        serving(folder, settings(folder, server.address)) as gateway,
        Client.to(gateway) as client,
        aiohttp.ClientSession() as session,
    ):
        story = Story(gateway, server, client, session)
        traffic = Traffic(client, Nature(_RATES, seed=1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(_CLIENTS))
            await story.in_phase(MODEL, "concluded", patience_s=_PATIENCE_S)
            await story.in_phase(BYSTANDER, "running", patience_s=_PATIENCE_S)
            traffic.stop.set()
        await story.ask(40)
        yield story
