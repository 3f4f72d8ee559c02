"""What the gateway says of itself: `/admin/v1/experiments/digits/state`, and whether it is ready."""

import contextlib

import aiohttp
import msgspec

from load.demo.plan import EXPERIMENT, Ports

# Loopback answers in milliseconds; a gateway that takes longer is asked again.
_TIMEOUT = aiohttp.ClientTimeout(total=2.0)


class ArmState(msgspec.Struct, frozen=True):
    """One arm as the learner sees it; money in dollars per prediction, None before it is known."""

    name: str
    state: str
    weight: float = 0.0
    decisions: int = 0
    rewards: int = 0
    reward_sum: float = 0.0
    rate: float | None = None
    cost_usd: float = 0.0
    prediction_cost_usd: float | None = None
    value_usd: float | None = None
    value_usd_low: float | None = None
    value_usd_high: float | None = None
    best_probability: float | None = None
    reason: str | None = None


class Remaining(msgspec.Struct, frozen=True):
    """The value remaining (95 % quantile) and when it counts as drained, as shares of the leader's value."""

    q95: float | None = None
    threshold: float | None = None
    drained: bool | None = None


class State(msgspec.Struct, frozen=True):
    """The experiment; fields the demo does not show are left out."""

    phase: str
    arms: list[ArmState]
    leader: str | None = None
    winner: str | None = None
    reason: str | None = None
    reference_rows: int = 0
    value_remaining: Remaining = Remaining()
    not_ready: list[str] = []

    def arm(self, name: str) -> ArmState | None:
        """Return an arm, None when there is none of this name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def rewards(self) -> int:
        """All unique rewards the gateway has counted, learned or not."""
        return sum(arm.rewards for arm in self.arms)

    @property
    def retired(self) -> list[str]:
        """The arms that are retired."""
        return [arm.name for arm in self.arms if arm.state == "retired"]


class Gateway:
    """The gateway's HTTP and admin ports, read."""

    def __init__(self, session: aiohttp.ClientSession, ports: Ports) -> None:
        self._session = session
        self._admin_url = f"http://127.0.0.1:{ports.admin}"
        self._http_url = f"http://127.0.0.1:{ports.http}"
        self._decoder = msgspec.json.Decoder(State)

    async def state(self) -> State | None:
        """Return the experiment's state; None while the gateway does not answer or has not published any."""
        body = await self._get(f"{self._admin_url}/admin/v1/experiments/{EXPERIMENT}/state")
        return None if body is None else self._decoder.decode(body)

    async def is_ready(self) -> bool:
        """Whether both ports say so."""
        return all([await self._get(f"{url}/readyz") is not None for url in (self._http_url, self._admin_url)])

    async def _get(self, url: str) -> bytes | None:
        """Return the body of a 200, None for anything else."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(url, timeout=_TIMEOUT) as response:
                if response.status == 200:
                    return await response.read()
        return None
