"""A new version is uploaded, loaded beside all others, checked, warmed, joins as an arm, and earns its traffic."""

import asyncio

from load.demo.plan import EXPERIMENT, MODEL, ModelPlan
from load.demo.state import State
from load.scenarios.stage import Stage
from load.scenarios.story import ArmPlan, Cloud, Story
from router.clock import unix_now
from turpin.deployment import STEPS, Deployment, Progress
from turpin.packing import verify

SERVER = "tfs-a"
NEW = "v3"
_VERSION = 3
# Most of the traffic: it earns it by its rewards alone, having begun with none.
_SHARE = 0.5
# And it is known to: half could be luck.
_BEST = 0.9


async def play(stage: Stage) -> None:
    """Deploy the third version while the two others serve."""
    await stage.until_share("v1", 0.01)
    before = await stage.servers[SERVER].states()
    stage.tell("v1 and v2 compete. v3, which knows more, lies in a folder of its own; no server has seen it.")
    deployed_at = unix_now()
    deployment = await _deploy(stage)
    stage.tell("v3 is an arm now, and has earned nothing yet.")
    await _was_loaded(stage, before, deployment, deployed_at)
    took_s = await stage.until_state("v3 leads", _leads)
    arm = stage.arm(NEW)
    await stage.until_share(NEW, _SHARE)
    stage.check(
        "new_version_earns_its_traffic",
        holds=arm.weight >= _SHARE and arm.rewards > 0,
        words=f"{stage.share(NEW):.0%} of the answers come from v3 {took_s:.0f} s later: "
        f"{arm.rewards:,} rewards, best with a probability of {arm.best_probability or 0.0:.3f}",
    )
    await _in_order(stage, deployed_at)


def _leads(state: State) -> bool:
    # The state shows an arm a refresh after it has joined.
    arm = state.arm(NEW)
    return arm is not None and arm.weight >= _SHARE and (arm.best_probability or 0.0) >= _BEST


async def _deploy(stage: Stage) -> Deployment:
    seen: list[str] = []

    def tell(step: Progress) -> None:
        if step.step not in seen:
            seen.append(step.step)
            stage.tell(f"turpin deploy {MODEL} {stage.folder.aside.name}/{_VERSION} --as {NEW}: {step.step}")

    deployment = await stage.client.deploy(MODEL, stage.folder.aside / str(_VERSION), as_=NEW, progress=tell)
    # What was told last is on its way through the loop.
    await asyncio.sleep(0)
    stage.check(
        "deployed_step_by_step",
        holds=deployment.is_done and set(seen) <= set(STEPS) and seen[:1] == [STEPS[0]],
        words=f"done: {', '.join(STEPS)}; {deployment.digest}",
    )
    return deployment


async def _was_loaded(stage: Stage, before: dict[int, str], deployment: Deployment, deployed_at: float) -> None:
    states = await stage.servers[SERVER].states()
    stage.check(
        "server_loaded_it",
        holds=_VERSION not in before and states.get(_VERSION) == "AVAILABLE",
        words=f"GetModelStatus said {before}, and says {states}",
    )
    touched = [one for one in stage.servers[SERVER].changes() if one.at >= deployed_at and one.version != _VERSION]
    stage.check(
        "bystanders_untouched",
        holds=not touched and states.get(1) == states.get(2) == "AVAILABLE",
        words=f"the server's log shows {len(touched)} changes of other versions meanwhile",
    )
    sealed = verify(stage.folder.models / str(_VERSION))
    stage.check(
        "published_as_it_was_sent",
        holds=sealed.digest == deployment.digest,
        words=f"every file under {stage.folder.models / str(_VERSION)} has the digest it was packed with",
    )


async def _in_order(stage: Stage, deployed_at: float) -> None:
    """First loaded, by the server's log; then warm, by the history; then its first answer, by the client's diary."""
    loaded_at = stage.servers[SERVER].first(_VERSION, "AVAILABLE", deployed_at)
    answered_at = stage.diary.first(NEW, deployed_at)
    moves = [
        (one.get("before"), one.get("after"))
        for one in await stage.client.history(EXPERIMENT)
        if one.get("what") == NEW
    ]
    stage.check(
        "loaded_and_warm_before_its_first_answer",
        holds=loaded_at is not None
        and answered_at is not None
        and loaded_at < answered_at
        and ("warming", "eligible") in moves,
        words=f"AVAILABLE {_after(loaded_at, deployed_at)}, then warmed, first answer {_after(answered_at, deployed_at)}",
    )


def _after(at: float | None, since: float) -> str:
    return "never" if at is None else f"after {at - since:.2f} s"


STORY = Story(
    title="A new version is deployed, and earns its traffic",
    models=(
        ModelPlan(1, "linear softmax", epochs=2, learning_rate=0.003, network="linear"),
        ModelPlan(2, "linear softmax", epochs=13, learning_rate=0.003, network="linear"),
        ModelPlan(_VERSION, "small CNN", epochs=10, learning_rate=0.002, network="small"),
    ),
    clouds=(Cloud(SERVER, "aws/us-east-1", 0.526, (1, 2), settings={"max_in_flight": 1}, is_publishing=True),),
    arms=(ArmPlan("v1", SERVER, 1), ArmPlan("v2", SERVER, 2)),
    later=(ArmPlan(NEW, SERVER, _VERSION),),
    checks=(
        "deployed_step_by_step",
        "server_loaded_it",
        "bystanders_untouched",
        "published_as_it_was_sent",
        "new_version_earns_its_traffic",
        "loaded_and_warm_before_its_first_answer",
    ),
    play=play,
)
