"""What the demo reads of the gateway's state, on a real socket."""

import aiohttp

from load.demo.plan import Ports
from load.demo.state import Gateway
from tests.load.stand_in import StandIn


class OnePort(Ports):
    """All ports of a demo on one stand-in."""

    @property
    def http(self) -> int:
        return self.base

    @property
    def admin(self) -> int:
        return self.base


async def test_state_is_read_and_what_is_unknown_is_left_out() -> None:
    arm = {"name": "v1", "state": "eligible", "best_probability": None, "prediction_cost_usd": None, "new": [1]}
    async with StandIn() as gateway, aiohttp.ClientSession() as session:
        asked = Gateway(session, OnePort(gateway.port))
        gateway.rewards = {f"token-{number}": 1.0 for number in range(7)}
        assert await asked.state() is None

        gateway.state = {
            "phase": "running",
            "winner": None,
            "arms": [arm, {"name": "v2", "state": "retired", "rewards": 5}],
            "value_remaining": {"q95": 0.2, "threshold": 0.01, "drained": False},
            "later": {},
        }
        state = await asked.state()

    assert state is not None
    assert (state.phase, state.winner, state.rewards, state.retired) == ("running", None, 12, ["v2"])
    assert state.value_remaining.q95 == 0.2
    assert state.arm("v3") is None


async def test_gateway_is_ready_when_both_ports_say_so() -> None:
    async with StandIn() as gateway, aiohttp.ClientSession() as session:
        asked = Gateway(session, OnePort(gateway.port))
        is_ready = await asked.is_ready()
        gateway.is_ready = False
        is_still_ready = await asked.is_ready()
    async with aiohttp.ClientSession() as session:
        is_there = await Gateway(session, OnePort(gateway.port)).is_ready()

    assert (is_ready, is_still_ready, is_there) == (True, False, False)
