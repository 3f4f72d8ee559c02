"""Runs as the demo would have seen them, for tests of what is made of them."""

from load.demo.books import Books
from load.demo.plan import ARMS, PLANS
from load.demo.result import Moment, Run
from load.demo.state import ArmState, Remaining, State
from load.demo.training import Trained

COSTS_USD = {"v1": 1.0e-7, "v2": 1.1e-7, "v3": 3.0e-7}
RIGHT = {"v1": 0.92, "v2": 0.98, "v3": 0.98}


def arm_state(name: str, state: str, rewards: int) -> ArmState:
    """Return an arm as the gateway shows it."""
    return ArmState(
        name,
        state,
        weight=1.0 if state == "eligible" else 0.0,
        decisions=rewards,
        rewards=rewards,
        rate=RIGHT[name],
        cost_usd=rewards * 2e-7,
        prediction_cost_usd=COSTS_USD[name],
        value_usd=1e-6 * RIGHT[name] - COSTS_USD[name],
        value_usd_low=1e-6 * RIGHT[name] - COSTS_USD[name] - 1e-8,
        value_usd_high=1e-6 * RIGHT[name] - COSTS_USD[name] + 1e-8,
        best_probability=1.0 if name == "v2" else 0.0,
    )


def finished_run() -> Run:
    """Return a run of 20 s at 300 requests a second that v2 won: all three for 8 s, then v2 alone."""
    now = [0.0]
    books = Books(ARMS, lambda: now[0])
    books.start()
    for number in range(6000):
        now[0] = number / 300
        arm = ARMS[number % 3] if now[0] < 8 else "v2"
        books.answered(arm, number % 100 < 100 * RIGHT[arm])
    now[0] = 20.0
    counts = {arm: books.arms[arm].requests for arm in ARMS}
    states = {"v1": "retired", "v2": "eligible", "v3": "retired"}
    run = Run(seed=3, books=books)
    run.trained = [Trained(plan.version, 1000 * plan.version, 2000, 1.5) for plan in PLANS]
    run.state = State(
        "concluded",
        [arm_state(arm, states[arm], counts[arm]) for arm in ARMS],
        leader="v2",
        winner="v2",
        reference_rows=2,
        value_remaining=Remaining(0.001, 0.01, True),
    )
    run.servers = {1: "END", 2: "AVAILABLE", 3: "END"}
    for at_s in range(20):
        phase = "running" if at_s < 8 else "draining" if at_s < 10 else "concluded"
        run.timeline.append(Moment(float(at_s), phase, states, dict.fromkeys(ARMS, 1 / 3), 0.5))
    run.rewards_sent = run.rewards_acknowledged = 6000
    run.duration_s = 75.0
    run.pids = {"client": 1, "gateway": 2, "model_server": 3}
    return run
