"""Counts each arm's upstream calls for its guardrails: how many, how many failed, how many took too long.

Calls, not requests: the requests of a batch fail and wait together.
"""

from router.ledger import Ledger
from router.routes import Routes
from router.store import Cell
from serving.dispatcher import BatchRecord


class CallCounts:
    """Counts calls in the ledger, in the arm's open block."""

    def __init__(self, routes: Routes, ledger: Ledger) -> None:
        self._routes = routes
        self._ledger = ledger

    def on_batch(self, record: BatchRecord) -> None:
        """Count a call for every arm that it was made to.

        Left out are probes, which are padded and so take longer, and calls that failed by what a client had sent.
        """
        if record.is_probe or record.is_clients_fault:
            return
        for live, arm in self._routes.arms_of(record.servable):
            call_max_s = live.snapshot.call_max_s
            self._ledger.add(
                Cell(live.snapshot.epoch, arm, live.snapshot.block),
                calls=1,
                failed_calls=int(record.error is not None),
                slow_calls=int(call_max_s is not None and record.seconds > call_max_s),
            )
