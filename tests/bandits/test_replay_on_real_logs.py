"""Replay on the small Open Bandit Dataset (in the wheel of `obp` 0.4.1, Apache-2.0), against sums written out by hand.

Asked for by TEST_DOWNLOADS=1, since it fetches 1.3 MB: no dependency of ours.
"""

import csv
import io
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from bandits.replay import Everywhere, Log, evaluate

pytestmark = [
    pytest.mark.skipif(not os.environ.get("TEST_DOWNLOADS"), reason="downloads: set TEST_DOWNLOADS=1"),
    pytest.mark.timeout(120),
]

# (item, propensity, click) of each impression.
Rows: TypeAlias = list[tuple[int, float, float]]
LOGS = [(policy, campaign) for policy in ("random", "bts") for campaign in ("all", "men", "women")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("obp")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        folder,
        "obp==0.4.1",
    ]
    subprocess.run(command, check=True, timeout=100)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as opened:
        yield opened


def rows(wheel: zipfile.ZipFile, policy: str, campaign: str) -> Rows:
    text = wheel.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv").decode()
    lines = csv.DictReader(io.StringIO(text))
    return [(int(line["item_id"]), float(line["propensity_score"]), float(line["click"])) for line in lines]


def log(found: Rows, target: list[float]) -> Log:
    items, propensity, click = (np.array(column) for column in zip(*found, strict=True))
    everywhere = Everywhere(np.array([target]), np.zeros(items.size, np.int64))
    return Log(items, propensity, np.array(target)[items], click, everywhere)


@pytest.mark.parametrize(("policy", "campaign"), LOGS)
def test_estimates_are_the_sums_written_out(wheel: zipfile.ZipFile, policy: str, campaign: str) -> None:
    found = rows(wheel, policy, campaign)
    items = max(item for item, _, _ in found) + 1
    # A policy that prefers early items; its shares add up to 1.
    target = [2 * (items - item) / (items * (items + 1)) for item in range(items)]

    answer = evaluate(log(found, target))

    weights = [target[item] / propensity for item, propensity, _ in found]
    weighted = [w * click for w, (_, _, click) in zip(weights, found, strict=True)]
    n, ips = len(found), math.fsum(weighted) / len(found)
    snips = math.fsum(weighted) / math.fsum(weights)
    clicks = {item: [click for other, _, click in found if other == item] for item in range(items)}
    rates = [math.fsum(all_) / len(all_) if all_ else ips for all_ in clicks.values()]
    of_policy = math.fsum(share * rate for share, rate in zip(target, rates, strict=True))
    left_over = [w * (click - rates[item]) for w, (item, _, click) in zip(weights, found, strict=True)]
    assert (n, answer.n) == (10_000, 10_000)
    assert answer.ips == pytest.approx(ips, abs=1e-9)
    assert answer.snips == pytest.approx(snips, abs=1e-9)
    assert answer.ess == pytest.approx(math.fsum(weights) ** 2 / math.fsum(w * w for w in weights), rel=1e-9)
    assert answer.ips_se == pytest.approx(
        math.sqrt(math.fsum((one - ips) ** 2 for one in weighted) / (n * (n - 1))), abs=1e-9
    )
    if all(clicks.values()):
        assert answer.dr == pytest.approx(of_policy + math.fsum(left_over) / n, abs=1e-9)


@pytest.mark.parametrize(("policy", "campaign"), LOGS)
def test_one_item_of_many_is_too_thin_to_tell(wheel: zipfile.ZipFile, policy: str, campaign: str) -> None:
    found = rows(wheel, policy, campaign)
    items = max(item for item, _, _ in found) + 1

    answer = evaluate(log(found, [0.0] * (items - 1) + [1.0]))

    # Between 1 % and 3 % of 10,000 impressions show a given item; and few of those were clicked.
    shown = sum(item == items - 1 for item, _, _ in found)
    assert answer.ess <= shown + 1e-9
    assert answer.refused is (answer.ess < 200)
