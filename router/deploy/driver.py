"""Takes deployments to their end while this gateway leads: load, check, warm, compare, join; or cleans up after a failure.

Level-triggered, as the life of experiments is: what the store says is under way is begun, step by step, and each step
finds done what was done. A crash, or another leader, goes on with the same step.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from router.control.loading import loaded
from router.control.model_servers import ModelServers
from router.deploy.comparing import Comparing
from router.deploy.deployment import Deployment, decode, detailed, encode, failed, failing, forward
from router.deploy.publishing import Publishing
from router.deploy.refusals import DeployRefused
from router.store import Fenced, Record, RevisionConflict, Store, StoreError
from serving import fleet, wire
from serving.errors import Code, ServingError
from serving.upstream import Servable, Upstream
from serving.warmup_file import PATH, example_bodies

log = structlog.get_logger(__name__)

# An upload that is whole is renamed within milliseconds; one that is not there after so long died with its gateway.
_PUBLISH_S: Final = 10.0
# The first call of a graph may compile for a minute on a GPU.
_WARM_CALL_S: Final = 60.0
_UNLOAD_S: Final = 60.0
_TURN_S: Final = 0.25
# Zeros are a guess: what a model answers to a guess that it does not like proves nothing about the model.
_FAULTS_OF_THE_GUESS: Final = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE})


class Experiments(Protocol):
    """What a deployment needs of experiments."""

    async def control(self, deployment: Deployment) -> Servable:
        """Return the control of its experiment; DeployRefused when it may not join."""

    async def join(self, deployment: Deployment) -> None:
        """Add it as an arm, if it is none yet; DeployRefused when that can't be."""

    async def needs(self, deployment: Deployment) -> bool:
        """Say whether an experiment has this version as an arm."""


class Driver:
    """Mutable: which deployments are under way here."""

    def __init__(
        self,
        *,
        store: Store,
        servers: ModelServers,
        upstreams: Mapping[str, tuple[Upstream, ...]],
        publishing: Publishing,
        experiments: Experiments,
        comparing: Comparing,
        confirm: Callable[[], Awaitable[int | None]],
        unix_now: Callable[[], float],
    ) -> None:
        """`confirm` asks the store whether we lead, and returns our fence."""
        self._store = store
        self._servers = servers
        self._upstreams = upstreams
        self._publishing = publishing
        self._experiments = experiments
        self._comparing = comparing
        self._confirm = confirm
        self._unix_now = unix_now
        self._under_way: set[str] = set()

    async def run(self) -> None:
        """Look after deployments until cancelled; a store that is away is said once."""
        is_store_away = False
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._turn(tasks)
                    is_store_away = False
                except StoreError as error:
                    if not is_store_away:
                        log.warning("deployments wait: the store is away", reason=str(error))
                    is_store_away = True
                except Exception:  # Bulkhead: one turn nobody foresaw must not end the control process.
                    log.exception("a turn of the deployments failed")
                await asyncio.sleep(_TURN_S)

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        records = [record for record in await self._store.deployments() if record.name not in self._under_way]
        for record in records:
            try:
                deployment = decode(record.document)
            except msgspec.MsgspecError as error:
                log.error("stored deployment can't be read", deployment=record.name, reason=str(error))
                continue
            if not deployment.is_over and await self._confirm() is not None:
                self._under_way.add(record.name)
                tasks.create_task(self._carry(record), name=f"deploy {record.name}")

    async def _carry(self, record: Record) -> None:
        """Take one deployment as far as it goes."""
        deployment, revision = decode(record.document), record.revision
        try:
            while not deployment.is_over:
                try:
                    after = await self._step(deployment)
                except (ServingError, DeployRefused) as error:
                    after = self._refused(deployment, str(error))
                if after is deployment:
                    return
                revision = await self._save(after, revision)
                deployment = after
        except (Fenced, RevisionConflict) as error:
            log.warning("deployment left to another", deployment=record.name, reason=str(error))
        except StoreError as error:
            log.warning("deployment waits: the store is away", deployment=record.name, reason=str(error))
        except Exception:  # Bulkhead: one deployment's fault must not end the others.
            log.exception("step of a deployment failed", deployment=record.name, step=deployment.step)
        finally:
            self._under_way.discard(record.name)

    async def _save(self, deployment: Deployment, revision: int) -> int:
        fence = await self._confirm()
        if fence is None:
            raise Fenced("this gateway does not lead any more")
        facts = {"deployment": deployment.key, "step": deployment.step, "state": deployment.state}
        log.info("deployment changed", **facts, **({"reason": deployment.error} if deployment.error else {}))
        return await self._store.save_deployment(deployment.key, encode(deployment), revision, fence)

    def _refused(self, deployment: Deployment, why: str) -> Deployment:
        if deployment.state == "running":
            return failing(deployment, why, self._unix_now())
        log.warning("deployment can't be cleaned up yet", deployment=deployment.key, reason=why)
        return detailed(deployment, why, self._unix_now()) if deployment.detail != why else deployment

    async def _step(self, deployment: Deployment) -> Deployment:
        """Do the step under way, and return what comes after; the same, when it is not time yet."""
        if deployment.state == "failing":
            await self._clean_up(deployment)
            return failed(deployment, self._unix_now())
        target = Servable(deployment.backend, deployment.model, deployment.version)
        match deployment.step:
            case "publish":
                return await self._published(deployment)
            case "load":
                await loaded(self._servers, target)
            case "check":
                await self._check(deployment, target)
            case "warm":
                await self._warm(deployment, target)
            case "shadow":
                return await self._comparing.look(deployment)
            case "join":
                await self._experiments.join(deployment)
        return forward(deployment, self._unix_now())

    async def _published(self, deployment: Deployment) -> Deployment:
        """Look whether the version lies in its place."""
        spot = self._publishing.find(deployment.model, deployment.backend)
        now = self._unix_now()
        if await asyncio.to_thread(spot.digest, deployment.version) == deployment.digest:
            return forward(deployment, now)
        if now - deployment.changed_at > _PUBLISH_S:
            return failing(deployment, "its gateway ended before the version was published: deploy it again", now)
        return deployment

    async def _check(self, deployment: Deployment, target: Servable) -> None:
        control = await self._experiments.control(deployment)
        wanted = await loaded(self._servers, control)
        if why := fleet.difference(await loaded(self._servers, target), wanted, str(target)):
            raise DeployRefused(why)

    async def _warm(self, deployment: Deployment, target: Servable) -> None:
        """Call it until it is warm, on every replica; DeployRefused when no call of it can run."""
        spot = self._publishing.find(deployment.model, deployment.backend)
        signatures = dict(wire.SignatureDefMap.FromString(await loaded(self._servers, target)).signature_def)
        own = await asyncio.to_thread(spot.read, deployment.version, PATH)
        bodies = example_bodies(own, signatures, target)
        async with asyncio.TaskGroup() as tasks:
            warming = [
                tasks.create_task(_warm_replica(one, bodies), name=f"warm {target} on {one.address}")
                for one in self._upstreams[deployment.backend]
            ]
        faults = [fault for task in warming if (fault := task.result())]
        if faults:
            raise DeployRefused(f"no call of {target} can run: {'; '.join(faults)}")

    async def _clean_up(self, deployment: Deployment) -> None:
        """Unload and withdraw a version that failed, unless an experiment has it for an arm."""
        if await self._experiments.needs(deployment):
            return
        target = Servable(deployment.backend, deployment.model, deployment.version)
        await self._servers.retire(target, None)
        async with self._servers.closely(target.backend) as look, asyncio.timeout(_UNLOAD_S):
            while True:
                await look()
                replicas = self._servers.statuses(target.backend, target.model)
                if fleet.everywhere(replicas, fleet.is_gone, deployment.version):
                    break
        spot = self._publishing.find(deployment.model, deployment.backend)
        await asyncio.to_thread(spot.withdraw, deployment.version, deployment.digest)


async def _warm_replica(upstream: Upstream, bodies: Sequence[bytes]) -> str:
    """Send all requests, one after the other; return what went wrong when none of them could run."""
    has_run, fault = not bodies, ""
    for body in bodies:
        try:
            await upstream.call(wire.PREDICT, body, _WARM_CALL_S)
            has_run = True
        except ServingError as error:
            has_run = has_run or error.code in _FAULTS_OF_THE_GUESS
            fault = fault or f"{upstream.address}: {error.message}"
    return "" if has_run else fault
