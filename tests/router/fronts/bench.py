"""What stands behind a front in its tests: a predictor over a stand-in, models over a fake server, a reward desk."""

from collections.abc import Mapping, Sequence

from router.decisions import Keyring
from router.fronts.access import Access
from router.fronts.rewards import RewardRoutes
from router.ledger import Ledger
from router.models import Models
from router.reward_calls import RewardCalls
from router.rewards import RewardDesk
from router.snapshot import PARTS
from router.store import Reward, RewardResult, StoreUnavailable
from router.store.memory import MemoryStore
from serving.errors import ServingError
from serving.upstream import Servable
from tests.router.control.servers import CONFIG, Direct, fake_tfs
from tests.router.samples import BACKEND, KEYS, NOW, Bench, Instant, bench, snapshot

MESSAGE_BYTES = 256 * 1024
# A label that the model server knows, and the gateway's configuration does not.
_LABELLED = CONFIG.replace('name: "digits"', 'name: "digits" version_labels { key: "canary" value: 3 }')


class Rewards(MemoryStore):
    """A store that can be away for rewards. Mutable: whether it is."""

    is_away = False

    async def add_rewards(self, rewards: Sequence[Reward]) -> list[RewardResult]:
        if self.is_away:
            raise StoreUnavailable("the disk is full")
        return await super().add_rewards(rewards)


class Behind:
    """All of it, with an experiment on `digits` whose arms share equally. Mutable: the parts."""

    def __init__(
        self,
        fails: Mapping[Servable, ServingError] | None = None,
        *,
        parts: Sequence[int] = (),
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        self.dispatcher = Instant(fails)
        self.store = Rewards()
        self.bench: Bench = bench({BACKEND: self.dispatcher}, [snapshot(*(parts or (PARTS // 2, PARTS // 2)))])
        self.upstream = Direct(fake_tfs(_LABELLED))
        self.models = Models(routes=self.bench.routes, upstreams={BACKEND: (self.upstream,)})
        desk = RewardDesk(
            keys=Keyring(KEYS),
            routes=self.bench.routes,
            store=self.store,
            metrics=self.bench.metrics,
            unix_now=lambda: NOW,
            ledger=Ledger(),
            calls=RewardCalls(),
        )
        self.access = Access(token_sha256=(), is_reward_open=False)
        self.rewards = RewardRoutes(
            rewards=desk,
            access=self.access,
            message_bytes=message_bytes,
            durability="standard",
        )

    def requests(self, front: str, code: str) -> float:
        """How many requests a front counted with this code."""
        return self.bench.count("turpin_requests_total", front=front, code=code)
