"""Makes the figures of docs/explanation/learning.md anew: `python -P -m load.figures FOLDER [RUNS]`, some minutes."""

import sys
from pathlib import Path

from load.figures import draw, worlds
from load.simulate.command import one_thread_each


def main(folder: Path, runs: int) -> None:
    """Simulate and draw; what the text quotes goes to stdout."""
    curves = worlds.regret(runs)
    draw.draw_regret(curves, folder / "regret.svg")
    whole = curves["uniform"].lost[:, -1].mean()
    for policy, curve in curves.items():
        sys.stdout.write(f"regret {policy}: {curve.lost[:, -1].mean() / whole:.0%} of an equal split's\n")
    stops = worlds.rhythm(2 * runs)
    draw.draw_rhythm(stops, folder / "rhythm.svg")
    for rule, found in stops.items():
        sys.stdout.write(f"rhythm {rule}: {found.right.size} right, {found.wrong.size} wrong of {found.runs} runs\n")
    shares = worlds.price(runs)
    draw.draw_price(shares, folder / "price.svg")
    after = shares.share[:, shares.at >= shares.changed_at].mean(axis=0)
    sys.stdout.write(f"price: {after[0]:.2f} at the next refresh, {after[-1]:.2f} at the end\n")


if __name__ == "__main__":
    one_thread_each()
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30)
