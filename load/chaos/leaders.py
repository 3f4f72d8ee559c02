"""Two gateways on one Redis, of which the leading one is stopped and wakes again: nobody writes in another's epoch. R8."""

import asyncio
import math
import os
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from load.chaos.case import Findings, Setting
from load.chaos.faults import Late
from load.chaos.gateway import Gateway
from load.chaos.load_during import conclude, rewarding
from load.chaos.monitor import monitored, published, writers
from load.chaos.stage import Plan, Stage, staged
from load.chaos.waiting import until
from router.control.leader import LEASE_S
from router.store.redis_scripts import PUBLISH

# The lease runs out, and the next turn takes it: a second is far more than a turn.
_TAKEN_OVER_MAX_S: Final = LEASE_S + 1.0
_TAKEN_OVER_S: Final = 20.0
# The old leader's write arrives when the new one leads for long.
_LATE_S: Final = LEASE_S + 3.0
_AWAKE_S: Final = 20.0
# Points between the shares of two gateways, beside what four standard errors of drawn requests explain.
_APART_MAX: Final = 2.0


def _leads(gateway: Gateway) -> int:
    return len(gateway.events("leading"))


async def _pass_on(stage: Stage, leader: int) -> float:
    """Stop a leader while its snapshot is under way, until the other one leads and that snapshot has come; then wake it.

    Return how long nobody led.
    """
    old, new, proxy = stage.gateways[leader], stage.gateways[1 - leader], stage.store_proxies[leader]
    led, woken = _leads(new), len(old.events("another gateway leads now"))
    late = Late(PUBLISH.sha.encode(), _LATE_S)
    proxy.to_server = late
    await until("a snapshot under way", lambda: late.held > 0, _TAKEN_OVER_S)
    os.kill(old.child.pid, signal.SIGSTOP)
    nobody_led_s = await until("another leader", lambda: _leads(new) > led, _TAKEN_OVER_S)
    # Until what was held back has been let go, under an epoch that is over.
    await asyncio.sleep(max(0.0, _LATE_S - nobody_led_s) + 0.5)
    proxy.heal()
    os.kill(old.child.pid, signal.SIGCONT)
    await until("the old leader's retreat", lambda: len(old.events("another gateway leads now")) > woken, _AWAKE_S)
    return nobody_led_s


async def leader_stopped(setting: Setting, findings: Findings) -> None:
    """Stop the leader in the middle of a write, again and again, and look at what Redis did."""
    plan = Plan(store="redis", gateways=2, proxied=frozenset({"store"}), rate=setting.size(200, 100))
    times = setting.size(2, 1)
    async with staged(setting.folder, plan, setting.rng) as stage, monitored(stage.the_redis.port) as lines:
        leader = 0 if _leads(stage.gateways[0]) else 1
        nobody_led_s = 0.0
        async with rewarding(stage):
            # So that the first leader is seen to write, too.
            await asyncio.sleep(1.0)
            for number in range(times):
                setting.tell(f"stop {number + 1} of {times}")
                nobody_led_s = max(nobody_led_s, await _pass_on(stage, leader))
                leader = 1 - leader
        ports = {
            gateway.name: proxy.local_ports for gateway, proxy in zip(stage.gateways, stage.store_proxies, strict=True)
        }
        calls = published(lines)
        by_fence = writers(calls, ports)
        fences = [event["fence"] for gateway in stage.gateways for event in gateway.events("leading")]
        refused = [call for call in calls if not call.is_let_through]
        findings.figures |= {
            "times": times,
            "snapshots let through": len(calls) - len(refused),
            "writers in one epoch at most": max((len(names) for names in by_fence.values()), default=0),
            "late writes refused by the fence": len(refused),
            "nobody led for s": round(nobody_led_s, 2),
        }
        await conclude(stage, findings)
        _judge(findings, by_fence, len(refused), times)
        findings.hold(len(fences) == len(set(fences)), f"an epoch was led twice: {sorted(fences)}")
        unequal = {key: parts for key, parts in stage.predictions.shares.items() if len(parts) > 1}
        findings.hold(not unequal, f"gateways disagree on a share of the same version: {unequal}")
        apart, chance = _apart([await _traffic(gateway) for gateway in stage.gateways])
        findings.figures |= {
            "traffic shares apart by points": round(apart, 2),
            "of which chance explains": round(chance, 2),
        }
        findings.hold(apart <= _APART_MAX + chance, f"the gateways' shares of traffic are {apart:.1f} points apart")
    if not setting.is_short:
        findings.hold(nobody_led_s <= _TAKEN_OVER_MAX_S, f"nobody led for {nobody_led_s:.1f} s")


async def _traffic(gateway: Gateway) -> dict[str, float]:
    """Return the decisions of a gateway's workers by arm, of those that are learned from."""
    samples = await gateway.metrics()
    wanted = re.compile(r'turpin_decisions_total\{.*arm="([^"]+)".*mode="experiment".*\}')
    return {match[1]: count for name, count in samples.items() if (match := wanted.fullmatch(name))}


def _apart(traffic: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Return how far apart two gateways' shares of an arm are at most, in points, and how far chance alone may put them."""
    totals = [sum(one.values()) for one in traffic]
    if not all(totals):
        return 100.0, 0.0
    apart = chance = 0.0
    for arm in {arm for one in traffic for arm in one}:
        shares = [one.get(arm, 0.0) / total for one, total in zip(traffic, totals, strict=True)]
        variance = sum(share * (1 - share) / total for share, total in zip(shares, totals, strict=True))
        apart, chance = max(apart, abs(shares[0] - shares[1])), max(chance, 4 * math.sqrt(variance))
    return 100 * apart, 100 * chance


def _judge(findings: Findings, by_fence: dict[int, set[str]], refused: int, times: int) -> None:
    shared = {fence: names for fence, names in by_fence.items() if len(names) != 1}
    findings.hold(not shared, f"more than one wrote in an epoch: {shared}")
    findings.hold("nobody known" not in set().union(*by_fence.values()), f"somebody unknown wrote: {by_fence}")
    findings.hold(len(by_fence) >= times + 1, f"{times} times another took over, and wrote in {sorted(by_fence)} alone")
    findings.hold(refused >= times, f"{refused} late writes were refused by the fence, {times} were sent")
