"""The same model on two clouds: traffic follows the cheaper one, there and back, and leaves it when it dies."""

import time

from load.demo.plan import ModelPlan
from load.scenarios.files import set_prices
from load.scenarios.stage import Stage
from load.scenarios.story import ArmPlan, Cloud, Story

# A feed's step beyond 3× waits for an operator; this is just less. At 0.3 ms a row it is worth a tenth of a prediction.
CHEAP, DEAR = 0.9, 2.6
AWS, GCP = "tfs-a", "tfs-g"
ON_AWS, ON_GCP = "v3", "v3-gcp"
# Of the traffic, so much has moved when it counts as moved; the floor keeps 1 % where it was.
_MOVED = 0.9
# What moving may take: the p95 that we promise.
_REQUESTS_MAX = 5_000
_ARM_OF = {AWS: ON_AWS, GCP: ON_GCP}


async def play(stage: Stage) -> None:
    """Flip the prices, flip them back, flip them again, and kill the cheaper cloud."""
    stage.tell(f"One model on two clouds. AWS takes ${CHEAP} an hour, GCP ${DEAR}: the traffic should go to AWS.")
    await stage.until_state("the cheaper cloud leads", lambda _: stage.arm(ON_AWS).weight >= _MOVED)
    await stage.until_share(ON_AWS, _MOVED)
    stage.tell(f"{stage.share(ON_AWS):.0%} of the answers come from AWS.")
    await _flip(stage, "moved_to_the_cheaper_cloud", cheap=GCP)
    await _flip(stage, "moved_back", cheap=AWS)
    await _flip(stage, "moved_again", cheap=GCP)
    states = {name: (await server.states()).get(3) for name, server in stage.servers.items()}
    unloads = [one for server in stage.servers.values() for one in server.changes() if one.state == "UNLOADING"]
    stage.check(
        "both_copies_stayed_loaded",
        holds=set(states.values()) == {"AVAILABLE"} and not unloads,
        words=f"GetModelStatus says of version 3: {states}; {len(unloads)} unloads in the servers' logs",
    )
    await _die(stage)


async def _flip(stage: Stage, check: str, cheap: str) -> None:
    """Make one cloud cheap and the other dear, and see the traffic follow."""
    dear = AWS if cheap == GCP else GCP
    arm = _ARM_OF[cheap]
    set_prices(stage.folder, {cheap: CHEAP, dear: DEAR})
    before = stage.books.requests
    stage.tell(f"The price feed flips: {cheap} now takes ${CHEAP} an hour, {dear} ${DEAR}.")
    took_s = await stage.until_state(f"{cheap} leads", lambda _: stage.arm(arm).weight >= _MOVED)
    took = stage.books.requests - before
    await stage.until_share(arm, _MOVED)
    stage.tell(f"{stage.share(arm):.0%} of the answers come from {cheap}.")
    stage.check(
        check,
        holds=took <= _REQUESTS_MAX,
        words=f"90 % of the weight had moved after {took_s:.1f} s and {took:,} requests (at most {_REQUESTS_MAX:,})",
    )


async def _die(stage: Stage) -> None:
    stage.tell("GCP, the cheap cloud with the traffic, dies: SIGKILL.")
    killed = time.monotonic()
    await stage.servers[GCP].kill()
    await stage.until_share(ON_AWS, 1.0)
    left_s = time.monotonic() - killed
    await stage.until_state("the dead cloud is in quarantine", lambda _: stage.arm(ON_GCP).state == "quarantined")
    dead = stage.arm(ON_GCP)
    answers = await stage.servers[GCP].states()
    stage.check(
        "left_the_dead_cloud",
        holds=dead.weight == 0.0 and not answers,
        words=f"for two seconds AWS alone has answered, {left_s:.1f} s after the kill; GCP: {dead.state}, {dead.reason}",
    )


STORY = Story(
    title="The same model on two clouds, and a price feed that flips",
    # Trained briefly: what it gets right does not matter here, what it costs does.
    models=(ModelPlan(3, "wide CNN", epochs=2, learning_rate=0.001, network="wide"),),
    clouds=(
        Cloud(AWS, "aws/us-east-1", CHEAP, (3,), is_in_feed=True, settings={"max_in_flight": 1}),
        Cloud(GCP, "gcp/us-east4", DEAR, (3,), is_in_feed=True, settings={"max_in_flight": 1}),
    ),
    arms=(ArmPlan(ON_AWS, AWS, 3, "wide"), ArmPlan(ON_GCP, GCP, 3, "wide")),
    checks=(
        "moved_to_the_cheaper_cloud",
        "moved_back",
        "moved_again",
        "both_copies_stayed_loaded",
        "left_the_dead_cloud",
    ),
    play=play,
    # Between two moves of prices; ten minutes by default, here a few seconds stand for them.
    sections={"policy": {"hold": "2s"}},
)
