"""`python -m tests.simulation`: simulated worlds of seeds from --first on, --count of them; or --seed, one with what happened.

Prints each seed whose world broke a law, and how to play it again; exit code 1 then.
"""

import argparse
import logging
import sys
import time
from collections import Counter

import structlog

from tests.simulation.run import simulate


def main() -> int:
    """Play, and say what was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, help="this one alone, with its log")
    parser.add_argument("--clocks", action="store_true", help="clocks of gateways jump by an hour, too")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.count)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    else:
        logging.disable()
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), processors=[])
    counts: Counter[str] = Counter()
    broken = 0
    began = time.monotonic()
    for seed in seeds:
        outcome = simulate(seed, clocks_jump=options.clocks)
        counts += outcome.counts
        if outcome.broken:
            broken += 1
            sys.stdout.write(f"seed {seed}: {outcome.broken}\n  again: python -m tests.simulation --seed {seed}\n")
            sys.stdout.flush()
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{count:10} {name}\n")
    sys.stdout.write(f"{len(seeds)} worlds in {time.monotonic() - began:.0f} s, {broken} broke a law\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
