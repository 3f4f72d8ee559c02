"""An arm slows down and a server dies: both are left alone, tried again, and back when they are well."""

from load.demo.plan import ModelPlan
from load.scenarios.stage import Stage
from load.scenarios.story import ArmPlan, Cloud, Story

AWS, GCP = "tfs-a", "tfs-g"
# More than any healthy call takes on a machine that has other work to do, and twice that.
_SLOW_MAX_MS, _SICK_MS = 400, 800
_SICK, _ON_GCP = "v2", "v3"
# An arm rests 30 s before it is tried.
_REST_S = 90.0


async def play(stage: Stage) -> None:
    """Slow an arm down, kill a server, make both well again."""
    await stage.until_share(_SICK, 0.05)
    stage.tell("Three arms on two clouds share the traffic.")
    stage.folder.mood.write_text(str(_SICK_MS), encoding="utf-8")
    stage.tell(
        f"v2 falls ill: each of its calls takes {_SICK_MS} ms more; the guardrail allows 1 % above {_SLOW_MAX_MS}."
    )
    took_s = await stage.until_state("v2 is in quarantine", lambda _: stage.arm(_SICK).state == "quarantined")
    slow = stage.arm(_SICK)
    stage.check(
        "sick_arm_is_quarantined",
        holds="backend_p99_ms" in (slow.reason or "") and slow.weight == 0.0,
        words=f"after {took_s:.1f} s v2 is in quarantine with no traffic: {slow.reason}",
    )
    stage.folder.mood.write_text("0", encoding="utf-8")
    stage.tell("v2 is well again, and rests: it is tried after 30 s. Meanwhile GCP dies: SIGKILL.")
    await _die(stage)
    await stage.servers[GCP].start()
    stage.tell("GCP is back, with v3 loaded.")
    await _come_back(stage)


async def _die(stage: Stage) -> None:
    await stage.servers[GCP].kill()
    await stage.until_state("v3 is in quarantine", lambda _: stage.arm(_ON_GCP).state == "quarantined")
    await stage.until_gone(_ON_GCP)
    dead = stage.arm(_ON_GCP)
    stage.check(
        "dead_backend_is_left",
        holds="not reached" in (dead.reason or "") and stage.share("v1") == 1.0,
        words=f"v1 alone answers; v3: {dead.state}, {dead.reason}",
    )


async def _come_back(stage: Stage) -> None:
    await stage.until_state("v2 is well", lambda _: stage.arm(_SICK).state == "eligible", _REST_S)
    await stage.until_state("v3 is well", lambda _: stage.arm(_ON_GCP).state == "eligible", _REST_S)
    await stage.until_state("both get traffic", lambda _: _weight(stage) > 0.1)
    for arm in (_SICK, _ON_GCP):
        await stage.until_share(arm, 0.01)
    history = await stage.client.history("digits")
    tried = {one["what"] for one in history if one.get("after") == "eligible" and one.get("why") == "is well again"}
    stage.check(
        "back_when_well",
        holds=tried >= {_SICK, _ON_GCP},
        words=f"tried by calls of Turpin's own, found well, and given traffic again: {', '.join(sorted(tried))}",
    )
    unloads = [one for one in stage.servers[AWS].changes() if one.state == "UNLOADING"]
    stage.check(
        "sick_arms_stay_loaded",
        holds=not unloads and (await stage.servers[AWS].states()).get(2) == "AVAILABLE",
        words=f"the server of v2 has it AVAILABLE, and its log shows {len(unloads)} unloads: sickness retires nothing",
    )
    await _rewards(stage)


async def _rewards(stage: Stage) -> None:
    """Hold what the gateway believes of v2's rewards against what the client has sent: not one bad reward more."""
    state, mine = await stage.look(), stage.books.arms[_SICK]
    arm = stage.arm(_SICK)
    wrong, sent_wrong = arm.rewards - round(arm.reward_sum), mine.requests - mine.right
    stage.check(
        "sickness_is_no_reward",
        holds=state is not None and wrong <= sent_wrong,
        words=f"v2 has {wrong:,} rewards of 0 at the gateway; the client saw {sent_wrong:,} wrong answers of it",
    )


def _weight(stage: Stage) -> float:
    return stage.arm(_SICK).weight + stage.arm(_ON_GCP).weight


STORY = Story(
    title="An arm falls ill, and a cloud dies",
    models=(
        ModelPlan(1, "linear softmax", epochs=13, learning_rate=0.003, network="linear"),
        ModelPlan(2, "small CNN", epochs=6, learning_rate=0.002, network="small"),
        ModelPlan(3, "small CNN", epochs=6, learning_rate=0.002, network="small"),
    ),
    clouds=(Cloud(AWS, "aws/us-east-1", 0.526, (1, 2)), Cloud(GCP, "gcp/us-east4", 0.526, (3,))),
    arms=(ArmPlan("v1", AWS, 1), ArmPlan(_SICK, AWS, 2), ArmPlan(_ON_GCP, GCP, 3)),
    checks=(
        "sick_arm_is_quarantined",
        "dead_backend_is_left",
        "back_when_well",
        "sick_arms_stay_loaded",
        "sickness_is_no_reward",
    ),
    play=play,
    sections={"guardrails": [{"metric": "backend_p99_ms", "max": _SLOW_MAX_MS}], "policy": {"floor": 0.1}},
    moody=2,
)
