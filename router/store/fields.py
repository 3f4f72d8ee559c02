"""What is added up in a cell: the names of its integers."""

from bandits import delay_bins

FIELDS = (
    "decisions",
    "unlearned_decisions",
    "rows",
    "errors",
    "busy_ns",
    "cost_pico_usd",
    "rewards",
    "reward_q",
    "reward_q2",
    "delay_ms",
    "unlearned_rewards",
    "unlearned_reward_q",
    "late_rewards",
    "assigned",
    "cancelled",
    "unlearned_errors",
    "log_moment",
    "calls",
    "failed_calls",
    "slow_calls",
    *delay_bins.FIELDS,
    "other_event_rewards",
    "other_event_reward_q",
)
"""The names of what is added up in a cell, in the order in which stores keep them: new ones go to the end.

Of what may be learned from, each drawn request ends once: `assigned` = `decisions` + `errors` + `cancelled` (its client
left) + those in flight; only those with an id of their own, which may come again, are not in `assigned`. The second try
of a retried one is unlearned. `delay_bin_NN` counts conversions by when they
came within the window. `other_event_…` are those of `unlearned_…` whose event is not the one that is learned from.
`log_moment` stands in cells of its own, whose
blocks are negative: see router/ledger.py.
"""
