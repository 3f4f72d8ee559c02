"""`make bench-peers`: other servers and Turpin's fronts side by side; a quarter of an hour, once they are installed.

Prints the table with its ratios, and keeps it in load/results/peers.json. BENCH_ROUNDS, BENCH_SECONDS and BENCH_ONLY (a
regular expression over the names of systems) shorten it, and then nothing is kept. A server that can't be had here, or does not answer, is left out
and said.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from load.bench.backend import compiled
from load.bench.measure import Disagreement, Row, measure_both
from load.bench.peers.environments import NotInstalled, installed, version
from load.bench.peers.measure import measure
from load.bench.peers.table import BARS, GRPC_FRONT, PEERS, REST_FRONT, Peer
from load.bench.settings import CannotRun, check, settings
from load.bench.systems import ENVOY_FRONT, SYSTEMS, System
from load.bench.tables import console, summary, table
from load.demo.signals import run_whole
from load.generate.machine import machine
from router.fronts.envoy.start import missing

_RESULTS: Final = Path(__file__).parents[2] / "results" / "peers.json"
_LOAD: Final = "sat"
_FRONTS: Final = (ENVOY_FRONT, GRPC_FRONT, REST_FRONT)


class Bench:
    """A run of all. Mutable: what was measured, what Turpin's backend took, why a system was left out."""

    def __init__(self, systems: list[System | Peer], seconds: float) -> None:
        self._systems, self._seconds = systems, seconds
        self._rows: list[Row] = []
        self._backend_us: dict[str, list[float]] = {}
        self._versions: dict[str, str] = {}
        self._missing: set[str] = set()
        self._left_out: dict[str, str] = {}

    async def _install(self) -> None:
        """Install what is needed; what can't be had is left out."""
        for system in self._systems:
            if isinstance(system, Peer):
                try:
                    programs = await installed(system.environment)
                    self._versions[system.name] = await version(system.environment, programs)
                except NotInstalled as error:
                    self._missing.add(system.name)
                    self._leave_out(system.name, f"can't be installed: {error}")
            elif system.name == ENVOY_FRONT and (reason := missing()):
                self._missing.add(system.name)
                self._leave_out(system.name, reason)

    async def run(self, rounds: int) -> None:
        """Install, and measure round after round, so that a disturbance meets all."""
        await self._install()
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("bench", total=rounds * len(self._systems))
            for _ in range(rounds):
                for system in self._systems:
                    progress.update(bar, description=system.name)
                    if system.name not in self._missing:
                        await self._measure(system)
                    progress.advance(bar)

    async def _measure(self, system: System | Peer) -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if isinstance(system, System):
                row, backend_us = await measure_both(system, _LOAD, self._seconds, Path(folder))
                self._rows.append(row)
                self._backend_us.setdefault(system.name, []).append(backend_us)
                return
            try:
                self._rows.append(await measure(system, _LOAD, self._seconds, Path(folder)))
            except (Disagreement, OSError, RuntimeError) as error:
                # One peer's trouble is not the others', and may be over in the next round.
                self._leave_out(system.name, str(error) or repr(error))

    def _leave_out(self, name: str, why: str) -> None:
        self._left_out[name] = why
        sys.stderr.write(f"{name} is left out: {why}\n")

    def rows(self) -> list[dict[str, Any]]:
        """Return medians, with what was measured beside them."""
        found = summary(self._rows)
        for row in found:
            if backend_us := self._backend_us.get(row["system"]):
                row["backend_cpu_us"] = round(statistics.median(backend_us), 1)
            if row["system"] in self._versions:
                row["version"] = self._versions[row["system"]]
        return found

    def left_out(self) -> dict[str, str]:
        """Return why systems have no row, or are not in it with all rounds."""
        return dict(self._left_out)


def ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return processor time against processor time, with each bar, where both were measured.

    `with_backend`: with the processor time of what Turpin asks on its side, as a peer's has its models.
    """
    by_name = {row["system"]: row for row in rows}
    found: dict[str, dict[str, Any]] = {}
    for bar in BARS:
        if not (peer := by_name.get(bar.peer)) or not (front := by_name.get(bar.front)):
            continue
        peer_us, front_us, all_us = peer["cpu_us"], front["cpu_us"], front["cpu_us"] + front["backend_cpu_us"]
        if bar.dearer_max is not None:
            found[f"{bar.front} / {bar.peer}, {_LOAD}"] = {
                "measured": round(front_us / peer_us, 2),
                "with_backend": round(all_us / peer_us, 2),
                "bar": bar.dearer_max,
                "kind": "at most",
                "is_met": front_us / peer_us <= bar.dearer_max,
            }
        else:
            found[f"{bar.peer} / {bar.front}, {_LOAD}"] = {
                "measured": round(peer_us / front_us, 2),
                "with_backend": round(peer_us / all_us, 2),
                "bar": bar.cheaper_min,
                "kind": "at least",
                "is_met": bar.cheaper_min is None or peer_us / front_us >= bar.cheaper_min,
            }
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table, what is missing in it, and the ratios."""
    out = console()
    out.print(table(result["rows"]))
    for name, why in result["left_out"].items():
        out.print(f"{name}: LEFT OUT, {why}", markup=False)
    for name, ratio in result["ratios"].items():
        mark = "met" if ratio["is_met"] else "NOT MET"
        bar = "no bar" if ratio["bar"] is None else f"bar: {ratio['kind']} {ratio['bar']}, {mark}"
        out.print(f"{name}: {ratio['measured']}, {ratio['with_backend']} with Turpin's backend ({bar})")


def main() -> int:
    """Measure, show, keep; 1 if a bar is not met, 2 if it can't be measured."""
    try:
        chosen = settings("BENCH", rounds=2, seconds=4.0)
        check(_RESULTS if chosen.is_whole else None)
        compiled()
    except CannotRun as error:
        sys.stderr.write(f"{error}\n")
        return 2
    known: list[System | Peer] = [system for system in SYSTEMS if system.name in _FRONTS] + list(PEERS)
    systems = [system for system in known if chosen.only.search(system.name)]
    if not systems:
        sys.stderr.write(f"BENCH_ONLY fits none of {', '.join(system.name for system in known)}\n")
        return 2
    # Before the bench makes a load itself.
    described = machine()
    bench = Bench(systems, chosen.seconds)
    run_whole(bench.run(chosen.rounds))
    rows = bench.rows()
    result = {"machine": described, "commit": described["commit"], "rows": rows, "ratios": ratios(rows)}
    result["left_out"] = bench.left_out()
    show(result)
    if chosen.is_whole:
        _RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(one["is_met"] for one in result["ratios"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
