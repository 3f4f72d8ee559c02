"""Rewards as clients and attackers send them: twice, at once, late, altered, in floods, with another value. L1, L2, L4 to L6."""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec

from load.chaos.books import read_token
from load.chaos.case import Findings, Setting
from load.chaos.gateway import KEYS
from load.chaos.payers import STEPS, Due
from load.chaos.stage import Plan, Stage, staged
from router.decisions import BadToken, Keyring

_SETTLE_S: Final = 30.0
_CALLS_AT_ONCE: Final = 200
# Of whom one floods, and the decisions that each is given.
_CLIENTS: Final = 20
_EACH: Final = 30


def _with_duplicates(dues: list[Due], setting: Setting) -> list[Due]:
    """Return them with three in ten sent twice, in any order."""
    sent = dues + [due for due in dues if setting.rng.random() < 0.3]
    setting.rng.shuffle(sent)
    return sent


async def duplicates(setting: Setting, findings: Findings) -> None:
    """Three in ten are sent twice, at the same time, on two gateways; then all of them once more after a restart."""
    plan = Plan(store="redis", gateways=2, rate=300.0)
    async with staged(setting.folder, plan, setting.rng) as stage:
        dues: list[Due] = []
        for number in range(rounds := setting.size(5, 2)):
            setting.tell(f"round {number + 1} of {rounds}")
            new = stage.payers.due(await stage.decisions(_CALLS_AT_ONCE))
            dues += new
            await stage.payers.volley(_with_duplicates(new, setting))
        await stage.gateway.kill()
        await stage.gateway.start()
        await stage.payers.settle(_SETTLE_S)
        for start in range(0, len(dues), _CALLS_AT_ONCE):
            await stage.payers.volley(dues[start : start + _CALLS_AT_ONCE])
        await stage.payers.settle(_SETTLE_S)
        # The same decisions with another value: the first one stays.
        others = [Due(due.decision, due.event, (due.steps + 1) % STEPS) for due in dues[:_CALLS_AT_ONCE]]
        refused_before = len(stage.payers.refusals)
        await stage.payers.volley(others)
        conflicts = Counter(stage.payers.refusals[refused_before:])
        _, verdict = await stage.caught_up(_SETTLE_S)
        findings.figures |= {
            "rewards": len(dues),
            "acknowledged": verdict.acknowledged,
            "conflicts refused": conflicts[409],
            "lost": verdict.lost,
            "double": verdict.double,
        }
        findings.hold(verdict.acknowledged == len(dues), f"{verdict.acknowledged} of {len(dues)} were acknowledged")
        findings.hold(conflicts == {409: len(others)}, f"{len(others)} other values were answered {dict(conflicts)}")
        for difference in verdict.differences:
            findings.hold(False, difference)


async def flood(setting: Setting, findings: Findings) -> None:
    """One client of twenty brings the best reward for each of its decisions, again and again, and under other names.

    What it can move is bounded by the decisions that it was given: a twentieth, whatever it sends.
    """
    async with staged(setting.folder, Plan(store="redis", gateways=2, rate=300.0), setting.rng) as stage:
        # A token says so itself: what was decided while arms still warmed is not learned from.
        decisions = [one for one in await stage.decisions(_CLIENTS * _EACH) if read_token(one).is_learned]
        own = decisions[::_CLIENTS]
        honest = stage.payers.due(decision for place, decision in enumerate(decisions) if place % _CLIENTS)
        for start in range(0, len(honest), _CALLS_AT_ONCE):
            await stage.payers.volley(honest[start : start + _CALLS_AT_ONCE])
        best = [Due(decision, "default", STEPS) for decision in own]
        await stage.payers.volley(best)
        await stage.payers.settle(_SETTLE_S)
        times = setting.size(50, 5)
        for number in range(times):
            setting.tell(f"flood {number + 1} of {times}")
            others = [Due(decision, f"other-{number}", STEPS) for decision in own]
            await stage.payers.volley([*best, *others, *(Due(one, "default", number) for one in own)])
        await stage.payers.settle(_SETTLE_S)
        _, verdict = await stage.caught_up(_SETTLE_S)
        learned = await stage.learned()
        findings.figures |= {
            "decisions": len(decisions),
            "of the flooding client": len(own),
            "rewards that it sent": len(own) * (1 + 3 * times),
            "rewards learned from": learned,
            "lost": verdict.lost,
            "double": verdict.double,
        }
        findings.hold(learned == len(decisions), f"{learned} rewards are learned from, of {len(decisions)} decisions")
        for difference in verdict.differences:
            findings.hold(False, difference)


async def forgeries(setting: Setting, findings: Findings) -> None:
    """Tokens with one byte changed, of another key, of an unknown epoch, and values that are none: none counts."""
    async with staged(setting.folder, Plan(), setting.rng) as stage:
        count = setting.size(2000, 200)
        good = stage.payers.due(await stage.decisions(100))
        await stage.payers.volley(good)
        tokens = await stage.decisions(50)
        forged = [_altered(setting.rng.choice(tokens), setting) for _ in range(count)]
        statuses: Counter[int] = Counter()
        async with aiohttp.ClientSession() as session:
            for start in range(0, count, 500):
                lines = [{"decision": token, "reward": 1.0} for token in forged[start : start + 500]]
                statuses += await _statuses(session, stage, lines)
            odd = [b"NaN", b"1e999", b"-0.5", b"1.5", b"true", b'"1"', b"null", b"[]", b"9" * 400]
            bodies = [b'{"decision": "%s", "reward": %s}' % (tokens[0].encode(), value) for value in odd]
            refused = Counter([await _status(session, stage, body) for body in bodies])
        setting.tell("a million altered tokens")
        altered = setting.size(1_000_000, 10_000)
        passed = await asyncio.to_thread(_verified, tokens, altered, setting)
        _, verdict = await stage.caught_up(_SETTLE_S)
        findings.figures |= {
            "forged": count,
            "forged accepted": count - statuses[401],
            "altered, and verified with the gateway's key": altered,
            "of those accepted": passed,
            "odd values": len(odd),
            "odd values accepted": sum(found for status, found in refused.items() if status < 300),
            "acknowledged": verdict.acknowledged,
            "lost": verdict.lost,
            "double": verdict.double,
        }
        findings.hold(statuses == {401: count}, f"forged tokens were answered {dict(statuses)}")
        findings.hold(passed == 0, f"{passed} altered tokens were accepted")
        findings.hold(set(refused) <= {400, 422}, f"odd values were answered {dict(refused)}")
        for difference in verdict.differences:
            findings.hold(False, difference)


async def late(setting: Setting, findings: Findings) -> None:
    """Rewards that come after the window, by the signed time, in the store's absence of memory or not: none counts."""
    plan = Plan(window="2s")
    async with staged(setting.folder, plan, setting.rng) as stage:
        decisions = await stage.decisions(200)
        in_time = stage.payers.due(decisions[-50:])
        await stage.payers.volley(in_time)
        await asyncio.sleep(2.5)
        refused_before = len(stage.payers.refusals)
        await stage.payers.volley(stage.payers.due(decisions[:150]))
        answers = Counter(stage.payers.refusals[refused_before:])
        _, verdict = await stage.caught_up(_SETTLE_S)
        findings.figures |= {
            "late": 150,
            "late accepted": 150 - answers[410],
            "acknowledged": verdict.acknowledged,
            "lost": verdict.lost,
            "double": verdict.double,
        }
        findings.hold(answers == {410: 150}, f"late rewards were answered {dict(answers)}")
        for difference in verdict.differences:
            findings.hold(False, difference)


def _altered(token: str, setting: Setting) -> str:
    """Change one bit of a token, or two."""
    raw = bytearray(base64.urlsafe_b64decode(token + "=="))
    # Different ones, or the second would undo the first.
    for place in setting.rng.sample(range(len(raw) * 8), setting.rng.randint(1, 2)):
        raw[place // 8] ^= 1 << (place % 8)
    return base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()


def _verified(tokens: Sequence[str], count: int, setting: Setting) -> int:
    """Return how many of so many altered tokens the gateway's own check lets pass; ValueError when it refuses a good one."""
    keys = Keyring([(name, secret.encode()) for name, _, secret in (key.partition(":") for key in KEYS)])
    try:
        for token in tokens:
            keys.verify(token)
    except BadToken as error:
        raise ValueError(f"a token of the gateway is refused: {error}") from error
    passed = 0
    for number in range(count):
        altered = _altered(tokens[number % len(tokens)], setting)
        with contextlib.suppress(BadToken):
            keys.verify(altered)
            passed += 1
    return passed


async def _statuses(session: aiohttp.ClientSession, stage: Stage, lines: list[dict[str, object]]) -> Counter[int]:
    body = b"\n".join(map(msgspec.json.encode, lines))
    async with session.post(f"{stage.gateway.http}/v1/rewards:batch", data=body) as response:
        answers = [msgspec.json.decode(line) for line in (await response.read()).splitlines()]
    return Counter(int(answer["status"]) for answer in answers)


async def _status(session: aiohttp.ClientSession, stage: Stage, body: bytes) -> int:
    async with session.post(f"{stage.gateway.http}/v1/rewards", data=body) as response:
        return response.status
