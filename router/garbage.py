"""The garbage collector of a process that serves: what start-up made is never walked again, and it comes less often."""

import gc
from typing import Final

# Objects that may be made and not freed before the young ones are walked. At Python's 700 the collector took 4.6 % of a
# saturated gateway (perf: gc_collect_main, visit_*). No more, for what is left in a cycle waits so long, and may be large.
_YOUNG: Final = 5_000


def settle() -> None:
    """Collect once, and keep what there is for good; to be called when the process is ready to serve."""
    gc.collect()
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(_YOUNG, *older)
