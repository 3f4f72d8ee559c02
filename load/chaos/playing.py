"""Plays one case, in a folder and with a generator of its own, and says what came of it."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from load.chaos.case import Case, Findings, Row, Setting, Skipped
from load.chaos.redis_process import NoRedis
from load.generate.machine import machine

log = structlog.get_logger(__name__)


async def play(case: Case, root: Path, *, is_short: bool, seed: int, tell: Callable[[str], None]) -> Row:
    """Play a case below `root`; whatever goes wrong is in the row."""
    folder = root / case.play.__name__
    await asyncio.to_thread(folder.mkdir, parents=True)
    findings = Findings()
    setting = Setting(folder, is_short, random.Random(f"{seed} {case.name}"), tell)
    began, skipped = time.monotonic(), ""
    try:
        async with asyncio.timeout(case.limit_s):
            await case.play(setting, findings)
    except (Skipped, NoRedis) as reason:
        skipped = str(reason)
    except TimeoutError:
        findings.hold(False, f"not over within {case.limit_s:g} s")
    except Exception as error:  # Bulkhead: one case that can't be played must not hide what the others find.
        log.exception("case failed", case=case.name)
        for leaf in leaves(error):
            findings.hold(False, f"{type(leaf).__name__}: {leaf}")
    took_s = round(time.monotonic() - began, 1)
    return Row(case.name, case.numbers, case.wanted, findings.figures, findings.broken, took_s, machine(), skipped)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what went wrong, out of all groups."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error
