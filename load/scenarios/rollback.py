"""The experiment ends, the winner serves; then it is taken back, and what lost serves again: loaded, warmed, routed to."""

from load.demo.plan import EXPERIMENT, ModelPlan
from load.demo.result import END
from load.scenarios.stage import Stage
from load.scenarios.story import ArmPlan, Cloud, Story
from router.clock import unix_now

SERVER = "tfs-a"
OLD, NEW = "v1", "v2"


async def play(stage: Stage) -> None:
    """Wait for the end, roll back, and hold the server's log against the client's diary."""
    server = stage.servers[SERVER]
    stage.tell("v1 is control, v2 the candidate. Both are loaded, and share the traffic.")
    await stage.until_state("the experiment is concluded", lambda state: state.phase == "concluded", 120.0)
    await stage.until_share(NEW, 1.0)
    states = await server.states()
    stage.check(
        "winner_serves_alone",
        holds=states == {1: END, 2: "AVAILABLE"} and _winner(stage) == NEW,
        words=f"v2 won and answers everything; GetModelStatus says {states}",
    )
    ordered_at = unix_now()
    await stage.client.rollback(EXPERIMENT, reason="the demo tells of a rollback")
    stage.tell("turpin rollback digits: v1 is to serve again. It is not loaded any more.")
    await stage.until_state(
        "v1 serves", lambda state: state.phase == "concluded" and state.winner == OLD and NEW in state.retired
    )
    await stage.until_share(OLD, 1.0)
    states = await server.states()
    stage.check(
        "rolled_back",
        holds=states == {1: "AVAILABLE", 2: END} and _winner(stage) == OLD,
        words=f"v1 answers everything; GetModelStatus says {states}",
    )
    _compare(stage, ordered_at)


def _compare(stage: Stage, ordered_at: float) -> None:
    """The server's log says when, the client's diary says who answered: first loaded, then routed to, then unloaded."""
    server, diary = stage.servers[SERVER], stage.diary
    loaded_at, unloading_at = server.first(1, "AVAILABLE", ordered_at), server.first(2, "UNLOADING", ordered_at)
    routed_at, left_at = diary.first(OLD, ordered_at), diary.last(NEW)
    stage.check(
        "loaded_before_routed",
        holds=loaded_at is not None and routed_at is not None and loaded_at < routed_at,
        words=f"v1 was AVAILABLE {_after(loaded_at, ordered_at)}, and answered first {_after(routed_at, ordered_at)}",
    )
    stage.check(
        "unloaded_after_its_last_answer",
        holds=unloading_at is not None and left_at is not None and left_at < unloading_at,
        words=f"v2 answered last {_after(left_at, ordered_at)}, and was UNLOADING {_after(unloading_at, ordered_at)}",
    )


def _after(at: float | None, ordered_at: float) -> str:
    return "never" if at is None else f"{at - ordered_at:.2f} s after the order"


def _winner(stage: Stage) -> str | None:
    return None if stage.state is None else stage.state.winner


STORY = Story(
    title="The winner is rolled back",
    models=(
        # Hardly trained, so that the end comes soon.
        ModelPlan(1, "linear softmax", epochs=2, learning_rate=0.003, network="linear"),
        ModelPlan(2, "small CNN", epochs=6, learning_rate=0.002, network="small"),
    ),
    clouds=(Cloud(SERVER, "aws/us-east-1", 0.526, (1, 2), settings={"max_in_flight": 1}),),
    arms=(ArmPlan(OLD, SERVER, 1), ArmPlan(NEW, SERVER, 2)),
    checks=("winner_serves_alone", "rolled_back", "loaded_before_routed", "unloaded_after_its_last_answer"),
    play=play,
    sections={"stop": {"min_age": "5s"}},
)
