"""How many requests may be sent a second time: a share of all, so that retries never become a storm."""

from typing import Final

# The budget can save up a few retries, so that a backend's restart at low traffic is bridged (Linkerd allows 10/s).
_SAVINGS_MAX: Final = 10.0


class RetryBudget:
    """Every request earns a fraction of a retry, so that retries never exceed that fraction of the load."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._saved = _SAVINGS_MAX

    def earn(self) -> None:
        """Count one request."""
        self._saved = min(_SAVINGS_MAX, self._saved + self._ratio)

    def spend(self) -> bool:
        """Take one retry if there is one."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
