"""The dashboard of money: what predictions cost, where it goes, and what choosing saves."""

from typing import Final

from load.dashboards.panel import EXPERIMENT, RATE_INTERVAL, Dashboard, Panel, Query

_DECISIONS: Final = f"sum by (experiment, arm) (rate(turpin_decisions_total{{{EXPERIMENT}}}[{RATE_INTERVAL}]))"
_VALUE: Final = f"max by (experiment, arm) (turpin_arm_value_usd{{{EXPERIMENT}}})"
_COST: Final = f"max by (experiment, arm) (turpin_prediction_cost_usd{{{EXPERIMENT}}})"


def _billed(by: str, more: str = "") -> str:
    """Dollars an hour."""
    return f"sum by ({by}) (rate(turpin_cost_usd_total{{{EXPERIMENT}{more}}}[{RATE_INTERVAL}])) * 3600"


def _chosen(each: str) -> str:
    """Dollars an hour of the requests as they were split, by what each arm's prediction is worth."""
    return f"sum by (experiment) ({_DECISIONS} * on (experiment, arm) {each}) * 3600"


def _split(each: str) -> str:
    """The same requests, had every arm got as many."""
    return f"sum by (experiment) ({_DECISIONS}) * avg by (experiment) ({each}) * 3600"


_BUSY: Final = _billed("experiment", ', kind="busy"')
_PAID: Final = _billed("experiment", ', kind=~"busy|idle"')
_SAVED: Final = f"{_chosen(_VALUE)} - {_split(_VALUE)}"

DASHBOARD: Final = Dashboard(
    uid="turpin-money",
    title="Turpin: money",
    question="What does a prediction cost, on which cloud, and what does choosing save?",
    panels=(
        Panel(
            "Earned",
            "Worth of the rewards less cost, an hour, at the present values of the arms.",
            [Query(_chosen(_VALUE), "{{experiment}}")],
            unit="currencyUSD",
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "More than an equal split",
            "What the same requests would have earned less, an hour, had every arm got as many.",
            [Query(_SAVED, "{{experiment}}")],
            unit="currencyUSD",
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Billed",
            "An hour: busy, idle, egress and copies together.",
            [Query(_billed("experiment"), "{{experiment}}")],
            unit="currencyUSD",
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Busy",
            "Of the time of model servers that is paid for.",
            [Query(f"({_BUSY}) / ({_PAID})", "{{experiment}}")],
            unit="percentunit",
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Cost of a million predictions, for deciding",
            "At the common batch size and the present price.",
            [Query(f"{_COST} * 1e6", "{{arm}}")],
            unit="currencyUSD",
        ),
        Panel(
            "Cost of a million predictions, billed",
            "Busy time alone, by what was answered. It also depends on how full batches were.",
            [
                Query(
                    f'sum by (experiment, arm) (rate(turpin_cost_usd_total{{{EXPERIMENT}, kind="busy"}}[{RATE_INTERVAL}]))'
                    f" / ({_DECISIONS} > 0) * 1e6",
                    "{{arm}}",
                )
            ],
            unit="currencyUSD",
        ),
        Panel(
            "Value of a million predictions",
            "The highest wins.",
            [Query(f"{_VALUE} * 1e6", "{{arm}}")],
            unit="currencyUSD",
            signed=True,
        ),
        Panel(
            "Billed an hour, by kind",
            "Idle time of a machine is shared by all versions loaded on it.",
            [Query(_billed("kind"), "{{kind}}")],
            unit="currencyUSD",
            stack="normal",
        ),
        Panel(
            "Billed an hour, by arm",
            "What a losing arm takes until it is unloaded.",
            [Query(_billed("arm"), "{{arm}}")],
            unit="currencyUSD",
            stack="normal",
        ),
        Panel(
            "More than an equal split",
            "An hour. It grows with what has been learned.",
            [Query(_SAVED, "{{experiment}}")],
            unit="currencyUSD",
            signed=True,
        ),
        Panel(
            "Price of a replica",
            "An hour, by backend: as configured, or from its feed.",
            [Query("max by (backend) (turpin_price_usd_per_hour)", "{{backend}}")],
            unit="currencyUSD",
            width=12,
        ),
        Panel(
            "Rows answered, by backend",
            "On which cloud the work is done.",
            [Query(f"sum by (backend) (rate(turpin_batch_rows_sum[{RATE_INTERVAL}]))", "{{backend}}")],
            unit="ops",
            stack="normal",
            width=12,
        ),
    ),
)
