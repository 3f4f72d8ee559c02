"""The spool: rewards that were acknowledged while the store was away, in a local file until the store has them."""

from router.spool.entries import SPOOL_AGE_S, Spooled
from router.spool.spool import Spool, spool_of

__all__ = ["SPOOL_AGE_S", "Spool", "Spooled", "spool_of"]
