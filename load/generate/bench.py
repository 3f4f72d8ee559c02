"""`make bench-batching`: the figures of batching, through a real gateway, at a stand-in for a device.

Each figure is a ratio within one run: the ceiling is arithmetic, the best fixed setting is measured beside the learned
one. On a busy machine the gateway's and the generator's own time is what is measured; the load is noted with the result.
"""

import asyncio
import importlib.util
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from load.generate.machine import machine
from load.generate.push import generator, push
from load.generate.rig import MODEL, Setting, clients, counted, gateway, model_server, stand_in, timer_batcher
from load.generate.run import Tally, closed_loop, open_loop, poisson
from load.generate.sender import body_of

# The device of the figures: 64 rows in 36 ms.
_A_MS, _B_MS, _ROWS_MAX = 20.0, 0.25, 64
_CEILING: Final = _ROWS_MAX / ((_A_MS + _B_MS * _ROWS_MAX) / 1e3)
# A device so fast that the gateway is what is measured: 32 rows in 5.6 ms.
_FAST_A_MS, _FAST_B_MS, _FAST_ROWS_MAX = 4.0, 0.05, 32
_FAST_PER_S: Final = 4_000.0
# A process that uses this much of a core is saturated: the rest is lost to whoever else runs there.
_SATURATED: Final = 0.9
# What an experiment is given without saying so.
_LATENCY_MS: Final = 80.0
_SECONDS: Final = 6.0
_WARM_UP_S: Final = 3.0
# How many calls at a time a model server on a processor bears is found by trials that pause for five seconds.
_SETTLED_S: Final = 10.0
_RESULTS: Final = Path(__file__).parents[1] / "results" / "batching.json"
_FIXED: Final = ((1, 16), (1, 64), (2, 16), (2, 32), (2, 64), (4, 16), (4, 64))


async def _closed(address: str, in_flight: int) -> Tally:
    async with clients(address, 8) as many:
        return await closed_loop(
            many.send, in_flight=in_flight, seconds=_SECONDS, warm_up_s=_WARM_UP_S, clock=time.perf_counter
        )


async def _at(folder: Path, in_flight: int, setting: Setting) -> dict[str, Any]:
    """Measure a closed loop through a gateway."""
    async with stand_in(_A_MS, _B_MS) as (backend, seen), gateway(folder, backend, setting) as one:
        report = (await _closed(one.address, in_flight)).report()
    return report | {"stand_in": {key: seen[key] for key in ("calls", "rows_per_call", "in_flight_max")}}


async def _added(folder: Path) -> dict[str, float]:
    """Measure one request at a time, directly and through the gateway, by turns."""
    async with (
        stand_in(1.0, 0.0) as (backend, _),
        gateway(folder, backend, Setting()) as one,
        clients(backend, 1) as direct,
        clients(one.address, 1) as through,
    ):
        p50_ms: dict[str, list[float]] = {"direct": [], "through": []}
        for _ in range(4):
            for name, many in (("direct", direct), ("through", through)):
                tally = await closed_loop(many.send, in_flight=1, seconds=1.5, warm_up_s=0.3, clock=time.perf_counter)
                p50_ms[name].append(tally.report()["latency_ms"]["p50"])
    best = {name: min(found) for name, found in p50_ms.items()}
    return {**best, "added": round(best["through"] - best["direct"], 3)}


async def _overload(folder: Path) -> dict[str, Any]:
    """Offer five times what a device of 300 rows a second can do; peak is what the same gateway reached before."""
    async with stand_in(2.0, 1e3 / 300) as (backend, _), gateway(folder, backend, Setting()) as one:
        peak = (await _closed(one.address, 16)).report()
        async with clients(one.address, 8) as many:
            times = poisson(1500.0, _WARM_UP_S + _SECONDS, random.Random(1))
            began, cpu_s = time.perf_counter(), one.cpu_s()
            tally = await open_loop(
                many.send, times, in_flight_max=20_000, warm_up_s=_WARM_UP_S, clock=time.perf_counter
            )
            busy = (one.cpu_s() - cpu_s) / (time.perf_counter() - began)
    report = tally.report()
    return {
        "peak_per_s": peak["answered_per_s"],
        "goodput_ratio": round(report["answered_per_s"] / peak["answered_per_s"], 3),
        "p99_ms": report["latency_ms"]["p99"],
        # Where it is near a whole core, requests wait to be read, before anybody can refuse them.
        "gateway_busy": round(busy, 3),
        **report,
    }


async def _timer(in_flight: int) -> float:
    """Measure the same closed loop by the usual policy: full, or 2 ms, and no bound of calls."""
    async with stand_in(_A_MS, _B_MS) as (backend, _), timer_batcher(backend) as address:
        return float((await _closed(address, in_flight)).report()["answered_per_s"])


async def _fast(folder: Path) -> dict[str, Any]:
    """Push 64 in flight through a gateway to a fast device; say how busy the gateway's process was."""
    setting = Setting(rows=_FAST_ROWS_MAX)
    async with stand_in(_FAST_A_MS, _FAST_B_MS) as (backend, seen), gateway(folder, backend, setting) as one:
        began, cpu_s = time.perf_counter(), one.cpu_s()
        await push(one.address, body_of(MODEL, "x", 1, 1), MODEL, in_flight=64, seconds=_SECONDS)
        seconds, cpu_s = time.perf_counter() - began, one.cpu_s() - cpu_s
    return {
        "generator": generator(),
        "answered_per_s": round(seen["rows"] / seconds, 2),
        "gateway_busy": round(cpu_s / seconds, 3),
        "cpu_us_per_request": round(cpu_s / max(1, seen["rows"]) * 1e6, 1),
        "rows_per_call": seen["rows_per_call"],
    }


async def _embedded(folder: Path) -> dict[str, Any] | None:
    """Measure 64 clients of a large digits network, directly and through a gateway; None without TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        return None
    base_path = folder / "digits"
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "load.generate.untrained", str(base_path / "1")
    )
    async with asyncio.timeout(120.0):
        await writer.wait()
    body = body_of("digits", "pixels", 1, 64)
    rates: dict[str, float] = {}
    async with (
        model_server(folder, "digits", base_path) as (backend, page),
        gateway(folder, backend, Setting(), "digits") as one,
    ):
        # A server says itself how many it has answered well: to what pushes, an error would be an answer, too.
        for name, address, counts, series in (
            ("direct", backend, page, ':tensorflow:serving:request_count{model_name="digits",status="OK"}'),
            ("through", one.address, one.page, 'turpin_requests_total{code="ok",front="grpc"}'),
        ):
            await push(address, body, "digits", in_flight=64, seconds=_SETTLED_S)
            before, began = await counted(counts, series), time.perf_counter()
            await push(address, body, "digits", in_flight=64, seconds=_SECONDS)
            seconds = time.perf_counter() - began
            rates[name] = round((await counted(counts, series) - before) / seconds, 2)
    return {"generator": generator(), "ratio": round(rates["through"] / max(1.0, rates["direct"]), 3), **rates}


def _figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare what was found with what is wanted."""
    best, fast, overload = max(found["fixed"].values()), found["fast"], found["overload"]
    figures = [
        ("256 in flight, share of the ceiling", found["full"]["answered_per_s"] / _CEILING, ">=", 0.95),
        ("64 in flight, share of the best fixed setting", found["half"]["answered_per_s"] / best, ">=", 0.95),
        ("one at a time, p50 ms added", found["one_at_a_time_ms"]["added"], "<=", 1.0),
        ("5x overload, share of the peak answered", overload["goodput_ratio"], ">=", 0.9),
        ("5x overload, p99 ms of what was answered", overload["p99_ms"], "<=", _LATENCY_MS),
    ]
    if fast["answered_per_s"] >= _FAST_PER_S or fast["gateway_busy"] < _SATURATED:
        figures.append(("fast device, answers a second", fast["answered_per_s"], ">=", _FAST_PER_S))
    else:
        figures.append(("fast device, the gateway's share of a core", fast["gateway_busy"], ">=", _SATURATED))
    if found["embedded"] is not None:
        figures.append(("large digits network, times direct calls", found["embedded"]["ratio"], ">=", 3.0))
    return [
        {
            "what": what,
            "measured": round(measured, 3),
            "wanted": f"{sign} {bar:g}",
            "is_met": measured >= bar if sign == ">=" else measured <= bar,
        }
        for what, measured, sign, bar in figures
    ]


async def bench(folder: Path) -> dict[str, Any]:
    """Measure all figures."""
    found: dict[str, Any] = {
        "full": await _at(folder, 256, Setting()),
        "half": await _at(folder, 64, Setting()),
        "fixed": {
            f"{slots} calls of {rows} rows": (await _at(folder, 64, Setting(slots, rows)))["answered_per_s"]
            for slots, rows in _FIXED
        },
        "timer_of_2_ms": {str(in_flight): await _timer(in_flight) for in_flight in (64, 256)},
        "one_at_a_time_ms": await _added(folder),
        "overload": await _overload(folder),
        "fast": await _fast(folder),
        "embedded": await _embedded(folder),
    }
    return {"machine": machine(), "figures": _figures(found), **found}


def main() -> int:
    """Measure, show, and keep the numbers; 1 if a figure is not met."""
    with tempfile.TemporaryDirectory() as folder:
        result = uvloop.run(bench(Path(folder)))
    _RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for figure in result["figures"]:
        mark = "met" if figure["is_met"] else "NOT MET"
        sys.stdout.write(f"{figure['what']:48} {figure['measured']:>10} {figure['wanted']:>8}  {mark}\n")
    for in_flight, per_s in result["timer_of_2_ms"].items():
        sys.stdout.write(
            f"beside: a 2 ms timer with unlimited calls, {in_flight} in flight {per_s:>10.1f} answers a second\n"
        )
    fast = result["fast"]
    words = (
        f"{fast['answered_per_s']:g} answers a second of {fast['generator']}, {fast['cpu_us_per_request']:g} us each"
    )
    sys.stdout.write(f"fast device: {words}; the gateway used {fast['gateway_busy']:.0%} of a core\n")
    sys.stdout.write(f"5x overload: the gateway used {result['overload']['gateway_busy']:.0%} of a core\n")
    load = " ".join(f"{one:.1f}" for one in result["machine"]["load"])
    sys.stdout.write(f"load of the machine: {load}; numbers in {_RESULTS}\n")
    return 0 if all(figure["is_met"] for figure in result["figures"]) else 1


if __name__ == "__main__":
    sys.exit(main())
