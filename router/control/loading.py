"""Waits until a version is loaded on every replica of its backend, whoever asked for it: an arm, or a deployment."""

import asyncio
from collections.abc import Sequence
from typing import Final

from router.control.model_servers import ModelServers
from serving import fleet, wire
from serving.errors import FailedPrecondition
from serving.upstream import Servable

# A version that is not loaded after this long has failed for now; loading a large model takes minutes, and it is asked
# for again.
_LOAD_S: Final = 60.0
# A server that says it failed is believed after two of its own polls; until then it may be the failure before this try.
_FAILED_S: Final = 2.0
# A replica without an answer for so long is away; loading a model does not keep a server from telling its status.
_SILENT_S: Final = 5.0


async def loaded(servers: ModelServers, target: Servable) -> bytes:
    """Wait until every replica has loaded the version, and return its signatures, serialised; ServingError when one
    has not, or has another version under this number."""
    assert target.version is not None  # noqa: S101 an arm always names its version
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    await servers.load(target)
    async with servers.closely(target.backend) as look:
        while True:
            await look()
            replicas = servers.statuses(target.backend, target.model)
            if fleet.everywhere(replicas, fleet.is_available, target.version):
                break
            waited_s = loop.time() - began
            has_failed = any(one and target.version in one and one[target.version].has_failed for one in replicas)
            is_silent = None in replicas and waited_s > _SILENT_S
            if waited_s > _LOAD_S or is_silent or (has_failed and waited_s > _FAILED_S):
                said = said_of(replicas, target)
                raise FailedPrecondition(f"{target} is not AVAILABLE on every replica after {waited_s:.0f} s: {said}")
        place = (target.model, target.version)
        found = {sight.signatures.get(place, b"") for sight in servers.sights(target.backend) if sight}
    if len(found) > 1:
        raise FailedPrecondition(f"the replicas of {target.backend} have different signatures of {target}")
    return found.pop()


def said_of(replicas: Sequence[fleet.Statuses | None], target: Servable) -> str:
    """Return what the servers themselves say of the version."""
    said: list[str] = []
    for statuses in replicas:
        one = None if statuses is None else statuses.get(target.version or 0)
        if statuses is None:
            said.append("no answer")
        else:
            # A server lists what it finds on its disk, and says nothing of the rest.
            unlisted = "not listed; is it below the model's base path?"
            said.append(unlisted if one is None else f"{wire.STATE_NAMES[one.state]} {one.error}".strip())
    return "; ".join(said)
