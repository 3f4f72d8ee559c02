"""The dashboard of an experiment: what it is deciding, and why."""

from typing import Final

from load.dashboards.panel import EXPERIMENT, RATE_INTERVAL, Dashboard, Panel, Query

# Every gateway shows the state, as it is in the store: the largest is any of them.
_BY_ARM: Final = "max by (experiment, arm)"


def _of_arms(metric: str, scale: str = "") -> Query:
    return Query(f"{_BY_ARM} (turpin_{metric}{{{EXPERIMENT}}}){scale}", "{{arm}}")


DASHBOARD: Final = Dashboard(
    uid="turpin-experiment",
    title="Turpin: experiment",
    question="What is it deciding, and why?",
    panels=(
        Panel(
            "Phase",
            "draft, warmup, running, confirming, draining, concluded, archived; or paused.",
            [Query(f"max by (experiment, phase) (turpin_experiment_phase{{{EXPERIMENT}}}) == 1", "{{phase}}")],
            kind="stat",
            names=True,
            width=4,
            height=4,
        ),
        Panel(
            "Gets most of the traffic",
            "The arm with the largest weight.",
            [Query(f"topk by (experiment) (1, {_BY_ARM} (turpin_arm_weight_ratio{{{EXPERIMENT}}}))", "{{arm}}")],
            kind="stat",
            names=True,
            width=4,
            height=4,
        ),
        Panel(
            "Arms that take part",
            "Those that may get traffic; a quarantined one rests.",
            [
                Query(
                    f'max by (experiment, arm) (turpin_arm_state{{{EXPERIMENT}, state="eligible"}}) == 1',
                    "{{arm}}",
                )
            ],
            kind="stat",
            names=True,
            width=8,
            height=4,
        ),
        Panel(
            "Value remaining",
            "What more experimenting could still find, at most (95 %), as a share of the leader's value.",
            [
                Query(
                    f"max by (experiment) (turpin_experiment_value_remaining_ratio{{{EXPERIMENT}}})",
                    "{{experiment}}",
                )
            ],
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Requests per second",
            "Requests that took part.",
            [Query(f"sum(rate(turpin_decisions_total{{{EXPERIMENT}}}[{RATE_INTERVAL}]))", "requests")],
            unit="reqps",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Weights",
            "The share of the traffic each arm is to get. It moves as evidence and prices do.",
            [_of_arms("arm_weight_ratio")],
            unit="percentunit",
            stack="normal",
            maximum=1.0,
        ),
        Panel(
            "Answers",
            "The share of the requests each arm did answer. Where it differs from the weights, answers failed or fell back.",
            [
                Query(
                    f"sum by (experiment, arm) (rate(turpin_decisions_total{{{EXPERIMENT}}}[{RATE_INTERVAL}]))",
                    "{{arm}}",
                )
            ],
            unit="reqps",
            stack="percent",
        ),
        Panel(
            "Probability to be the best",
            "By the posteriors of reward, and the costs of now.",
            [_of_arms("arm_best_probability_ratio")],
            unit="percentunit",
            maximum=1.0,
        ),
        Panel(
            "Value of a million predictions",
            "What the rewards are worth, less what the predictions cost. The highest wins.",
            [_of_arms("arm_value_usd", " * 1e6")],
            unit="currencyUSD",
            signed=True,
        ),
        Panel(
            "Cost of a million predictions",
            "At the common batch size and the present price: the cost by which arms are compared.",
            [_of_arms("prediction_cost_usd", " * 1e6")],
            unit="currencyUSD",
        ),
        Panel(
            "Value remaining",
            "The experiment is drained of its value when this stays below `stop.delta`. Less than 0.01 % is drawn as that.",
            [
                Query(
                    # An axis of logarithms has no place for nothing.
                    f"clamp_min(max by (experiment) (turpin_experiment_value_remaining_ratio{{{EXPERIMENT}}}), 0.0001)",
                    "{{experiment}}",
                )
            ],
            unit="percentunit",
            log=True,
        ),
        Panel(
            "Evidence against each challenger",
            "Logarithm. An arm is refuted as better above log(number of challengers / alpha): 3 for one, 3.7 for two at 5 %. "
            "More than 10 is drawn as 10.",
            # Evidence goes on to hundreds, and would make a flat line of what decides.
            [
                Query(
                    f"clamp_max({_BY_ARM} (turpin_experiment_evidence_log{{{EXPERIMENT}}}), 10)",
                    "{{arm}}",
                )
            ],
            signed=True,
        ),
        Panel(
            "Rewards by what became of them",
            "Only `recorded` ones count. All others are refused or repeated.",
            [Query(f"sum by (result) (rate(turpin_rewards_total[{RATE_INTERVAL}]))", "{{result}}")],
            unit="reqps",
        ),
        Panel(
            "Decisions that still wait for a reward",
            "Beside it how late rewards come: half of them within this many seconds.",
            [
                _of_arms("pending_rewards"),
                Query(
                    "histogram_quantile(0.5, sum by (experiment, le) "
                    f"(rate(turpin_reward_delay_seconds_bucket{{{EXPERIMENT}}}[{RATE_INTERVAL}])))",
                    "seconds to half of the rewards",
                ),
            ],
        ),
    ),
)
