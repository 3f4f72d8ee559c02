"""The reward sender: outlives the traffic, and sends every reward until it is acknowledged. Rewards are idempotent."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

# Half a minute of traffic: longer than any restart; when it is full the traffic waits, and nothing is dropped.
QUEUE_MAX: Final = 10_000
# Rewards come late in life too; a short while also makes one call of many.
DELAY_S: Final = 0.1
BATCH_MAX: Final = 500
# An acknowledgement waits for a disk, at most.
_TIMEOUT_S: Final = 10.0
_RETRY_FIRST_S: Final = 0.1
_RETRY_MAX_S: Final = 1.0
_ACKNOWLEDGED: Final = frozenset({200, 202})
# The gateway or its store is away, or busy: come again.
_COME_AGAIN: Final = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Reward:
    """What a decision earned."""

    decision: str
    reward: float


class _Line(msgspec.Struct):
    """One answer of the batch; refusals are problem documents."""

    status: int
    title: str = ""
    detail: str = ""


class RewardSender:
    """Drains a bounded queue of rewards into `POST /v1/rewards:batch`. Mutable: the counts and the queue."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._url = f"{base_url}/v1/rewards:batch"
        self._queue: asyncio.Queue[Reward | None] = asyncio.Queue(QUEUE_MAX)
        self._done = asyncio.Event()
        self._decoder = msgspec.json.Decoder(_Line)
        self.taken = 0
        self.acknowledged = 0
        # By message: what was refused for good.
        self.refused: Counter[str] = Counter()

    async def put(self, decision: str, reward: float) -> None:
        """Take a reward; waits while the queue is full."""
        self.taken += 1
        await self._queue.put(Reward(decision, reward))

    async def run(self) -> None:
        """Send rewards until `finish` was called and all are sent."""
        is_open = True
        while is_open:
            batch, is_open = await self._gather()
            await self._send(batch)
        self._done.set()

    async def finish(self, limit_s: float) -> bool:
        """Say that no reward follows, and wait until all are acknowledged or refused; False after `limit_s`."""
        try:
            async with asyncio.timeout(limit_s):
                await self._queue.put(None)
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    async def _gather(self) -> tuple[list[Reward], bool]:
        first = await self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        await asyncio.sleep(DELAY_S)
        while len(batch) < BATCH_MAX and not self._queue.empty():
            item = self._queue.get_nowait()
            if item is None:
                return batch, False
            batch.append(item)
        return batch, True

    async def _send(self, batch: Sequence[Reward]) -> None:
        """Send until every reward of the batch has its final answer."""
        retry_s = _RETRY_FIRST_S
        while batch:
            batch = await self._post(batch)
            if batch:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _RETRY_MAX_S)

    async def _post(self, batch: Sequence[Reward]) -> Sequence[Reward]:
        """Post once; return the rewards that must be sent again."""
        body = b"\n".join(msgspec.json.encode(reward) for reward in batch)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        lines: list[_Line] = []
        status, text = 503, b""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(self._url, data=body, timeout=timeout) as response:
                status, text = response.status, await response.read()
        if status == 200:
            with contextlib.suppress(msgspec.DecodeError):
                lines = self._decoder.decode_lines(text)
        elif status not in _COME_AGAIN:
            lines = [_Line(status, detail=text[:300].decode(errors="replace"))] * len(batch)
        if len(lines) != len(batch):
            return batch
        return [reward for reward, line in zip(batch, lines, strict=True) if not self._is_final(line)]

    def _is_final(self, line: _Line) -> bool:
        if line.status in _ACKNOWLEDGED:
            self.acknowledged += 1
        elif line.status in _COME_AGAIN:
            return False
        else:
            self.refused[f"reward {line.status} {line.title}: {line.detail}"] += 1
        return True
