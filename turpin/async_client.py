"""The client for asyncio: the same calls, each in a thread.

A call that is cancelled is no longer waited for; it ends by itself, at the latest when its time is up.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from turpin.client import DEPLOY_S, TIMEOUT_S, Client
from turpin.deployment import Deployment, OnProgress, Progress
from turpin.package import Package
from turpin.state import Decision, Experiments, Recorded, State


class AsyncClient:
    """A gateway, seen from outside, for asyncio; see `Client` for the arguments and for what each call raises."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        data_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = Client(url, token=token, data_url=data_url, timeout_s=timeout_s)

    async def experiments(self) -> Experiments:
        """Return all experiments, in brief."""
        return await asyncio.to_thread(self._client.experiments)

    async def experiment(self, name: str) -> Mapping[str, Any]:
        """Return an experiment as it is specified, with its revision."""
        return await asyncio.to_thread(self._client.experiment, name)

    async def state(self, name: str) -> State:
        """Return the numbers behind an experiment's decisions."""
        return await asyncio.to_thread(self._client.state, name)

    async def history(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return what happened to an experiment, the oldest first."""
        return await asyncio.to_thread(self._client.history, name)

    async def decide(
        self, model: str, *, unit: str | None = None, segment: str | None = None, request_id: str | None = None
    ) -> Decision:
        """Have an arm chosen without a prediction."""
        return await asyncio.to_thread(self._client.decide, model, unit=unit, segment=segment, request_id=request_id)

    async def reward(
        self, decision: str | Decision, reward: float | Sequence[float], *, event: str = "default"
    ) -> Recorded:
        """Say how good a decision was."""
        return await asyncio.to_thread(self._client.reward, decision, reward, event=event)

    async def rewards(self, claims: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Say how good many decisions were, in one call; return what became of each."""
        return await asyncio.to_thread(self._client.rewards, claims)

    async def deploy(
        self,
        model: str,
        path: str | os.PathLike[str],
        *,
        as_: str,
        version: int | None = None,
        experiment: str | None = None,
        backend: str | None = None,
        package: Package | None = None,
        shadow: Mapping[str, Any] | None = None,
        progress: OnProgress | None = None,
        timeout_s: float = DEPLOY_S,
    ) -> Deployment:
        """Make a SavedModel's folder a new arm, and return when it is one. `progress` is called on the event loop."""
        loop = asyncio.get_running_loop()

        def tell(step: Progress) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, step)

        return await asyncio.to_thread(
            self._client.deploy,
            model,
            path,
            as_=as_,
            version=version,
            experiment=experiment,
            backend=backend,
            package=package,
            shadow=shadow,
            progress=tell,
            timeout_s=timeout_s,
        )

    async def deployment(self, model: str, version: int) -> Deployment:
        """Return where the deployment of a version stands."""
        return await asyncio.to_thread(self._client.deployment, model, version)

    async def rollback(self, experiment: str, *, to: int | None = None, reason: str = "") -> Mapping[str, Any]:
        """Return to an earlier revision of an experiment, or, without one, to control."""
        return await asyncio.to_thread(self._client.rollback, experiment, to=to, reason=reason)
