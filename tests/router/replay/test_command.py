"""`turpin replay` from end to end: JSON and exit codes as design §13 fixes them, and our own journal in money."""

import json
import math
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from router import cli
from router.decisions import Decision, Keyring, Mode
from router.journal import Journal
from router.metrics import Metrics
from router.snapshot import PARTS
from router.store import Cell, Reward
from tests.router.samples import EPOCH, KEYS, NOW, snapshot

VALUE_USD = 0.02


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, ["replay", *map(str, arguments)], input=text)


def written(*rows: tuple[Any, float, float, float], copies: int = 1, **more: Any) -> str:
    names = ("arm", "propensity", "target_propensity", "reward")
    return "".join(json.dumps(dict(zip(names, row, strict=True)) | more) + "\n" for row in rows * copies)


FOUR = (("a", 0.75, 0.5, 1), ("a", 0.75, 0.5, 0), ("b", 0.25, 0.5, 1), ("b", 0.25, 0.5, 1))


def test_four_decisions_by_hand(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(written(*FOUR))

    done = run(tmp_path / "log.jsonl", "--json")

    answer = json.loads(done.stdout)
    expected = {"n": 4, "ips": 7 / 6, "snips": 7 / 8, "ips_se": 1 / 2, "snips_se": math.sqrt(68) / 64}
    expected |= {"dr": 3 / 4, "ess": 3.2}
    assert {name: answer[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert answer["refused"] is True
    assert "effective sample size" in answer["reason"]
    assert done.exit_code == 1


def test_force_answers_what_is_refused_with_exit_0() -> None:
    done = run("-", "--json", "--force", text=written(*FOUR))

    assert json.loads(done.stdout)["refused"] is True
    assert done.exit_code == 0


def test_enough_is_not_refused() -> None:
    done = run("-", "--json", text=written(*FOUR, copies=63))

    answer = json.loads(done.stdout)
    assert (answer["ess"], answer["refused"], answer["reason"]) == (pytest.approx(201.6), False, "")
    assert done.exit_code == 0


def test_dr_is_left_out_where_the_policy_s_shares_are_not_all_known() -> None:
    done = run("-", "--json", "--force", text=written(("a", 0.5, 0.5, 1), ("a", 0.5, 0.5, 0)))

    assert "dr" not in json.loads(done.stdout)


def test_a_worth_makes_money_of_rewards_and_costs() -> None:
    done = run("-", "--json", "--value-usd", "2", text=written(*FOUR, copies=100, cost_usd=0.5))

    answer = json.loads(done.stdout)
    assert answer["earned_usd"] == pytest.approx(400 * (2 * 0.75 - 0.5))
    assert answer["policy_usd"] == pytest.approx(400 * (2 * 0.75 - 0.5))
    assert answer["policy_usd_low"] < answer["policy_usd"] < answer["policy_usd_high"]


def test_a_known_floor_cuts_weights_and_the_note_says_so() -> None:
    done = run("-", "--json", "--force", "--floor", "0.8", text=written(*FOUR))

    answer = json.loads(done.stdout)
    assert (answer["clipped"], answer["weight_max"]) == (2, 1.25)
    assert answer["notes"][0].startswith("2 weights were cut to 1.25")


def test_weights_that_do_not_average_one_are_noted() -> None:
    done = run("-", "--json", text=written(("a", 0.5, 1.0, 1), ("a", 0.4, 1.0, 0), copies=200))

    assert "the weights average 2.25" in json.loads(done.stdout)["notes"][0]


def test_an_empty_log_is_refused_not_broken() -> None:
    done = run("-", "--json", text="")

    answer = json.loads(done.stdout)
    assert (answer["n"], answer["ips"], answer["ess"], answer["refused"]) == (0, None, 0.0, True)
    assert done.exit_code == 1


def test_people_get_words() -> None:
    done = run("-", "--value-usd", "1000", text=written(*FOUR))

    assert done.stdout.startswith("4 decisions\nips: 1.16667 ± 0.5 (standard error)\n")
    assert "earned: $3,000.00\n" in done.stdout
    assert "refused: the log's 4 decisions say as much" in done.stdout
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either a LOG.jsonl or --journal FOLDER"),
        (["nowhere.jsonl"], "can't read 'nowhere.jsonl'"),
        (["-", "--policy", "uniform"], "go with --journal"),
        (["--journal", "nowhere"], "needs a --policy"),
        (["--journal", "nowhere", "--policy", "uniform"], "can't read 'nowhere'"),
        (["--journal", ".", "--policy", "uniform", "--since", "noon"], "--since must be a time"),
        (["-", "--value-usd", "0"], "--value-usd must be more than 0"),
        (["-", "--floor", "0"], "floor"),
    ],
)
def test_bad_input_is_exit_2_and_words(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = run(*arguments, text="")

    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_bad_lines_are_listed_with_their_numbers() -> None:
    done = run("-", text=written(("a", 0, 0.5, 1), ("a", 0.5, 2, 1)))

    assert done.exit_code == 2
    assert "line 1: propensity must be" in done.stderr
    assert "line 2: target_propensity must be" in done.stderr


# Our own journal: three arms, weights that moved once, rewards of known rates.

RATES = np.array([0.10, 0.30, 0.20])
COST_PICO_USD = np.array([1, 3, 1]) * 10**9
EARLY, LATE = (PARTS // 2, PARTS // 4, PARTS // 4), (PARTS // 8, PARTS // 8 * 7, 0)
DAY = 3_000


def journal(folder: Path) -> Journal:
    return Journal(
        folder,
        name="gw-1",
        sample=1.0,
        max_bytes=2**30,
        keys=Keyring(KEYS),
        metrics=Metrics(),
        unix_now=lambda: NOW,
    )


def simulate(folder: Path, *, rounds: int = DAY, reward_every: int = 1) -> float:
    """Write a day of decisions, half of them under the early weights, half under the late ones; return what it earned."""
    rng = np.random.default_rng(5)
    book, earned = journal(folder), 0.0
    for number in range(rounds):
        parts = EARLY if number < rounds / 2 else LATE
        published = snapshot(*parts, version=1 if parts is EARLY else 2, value_usd=VALUE_USD)
        arm = int(rng.choice(3, p=np.array(parts) / PARTS))
        nonce = secrets.token_bytes(16)
        decision = Decision(
            Mode.EXPERIMENT, 0, EPOCH, arm, parts[arm], published.version, 1, int((NOW + number) * 1e6), 1, nonce
        )
        book.decided(decision, published, int(COST_PICO_USD[arm]), b"")
        value = float(rng.random() < RATES[arm])
        if number % reward_every == 0:
            reward = Reward(Cell(EPOCH, arm, 1), nonce, "default", value, {"rewards": 1}, 0)
            book.rewarded(reward, published.name, NOW + number + 1, 1.0)
        earned += VALUE_USD * value - COST_PICO_USD[arm] * 1e-12
        if number % 1_000 == 999:
            book.write()
    book.write()
    return earned


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("journal")
    return folder, simulate(folder)


def answer(folder: Path, policy: str, *options: str) -> dict[str, Any]:
    done = run("--journal", folder, "--policy", policy, "--json", "--force", *options)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def worth(*shares: float) -> float:
    """What a policy of these shares earns in a day, in truth."""
    return float(DAY * np.array(shares) @ (VALUE_USD * RATES - COST_PICO_USD * 1e-12))


@pytest.mark.parametrize(
    ("policy", "truth"),
    [("arm:v1", worth(1, 0, 0)), ("arm:v2", worth(0, 1, 0)), ("weights:v1=0.5,v2=0.5", worth(0.5, 0.5, 0))],
)
def test_what_a_policy_would_have_earned_is_told_in_money(day: tuple[Path, float], policy: str, truth: float) -> None:
    folder, earned = day

    found = answer(folder, policy)

    error = (found["policy_usd_high"] - found["policy_usd_low"]) / (2 * 1.96)
    assert abs(found["policy_usd"] - truth) < 4 * error
    assert error < 0.1 * worth(0, 1, 0)
    assert found["earned_usd"] == pytest.approx(earned)
    assert found["gain_usd"] == pytest.approx(found["policy_usd"] - earned)
    assert (found["n"], found["decisions"], found["pending"], found["refused"]) == (DAY, DAY, 0, False)


def test_an_arm_that_had_no_chance_for_half_the_day_is_refused(day: tuple[Path, float]) -> None:
    found = answer(day[0], "arm:v3")

    assert found["unsupported"] == 0.5
    assert found["refused"]
    assert "50.0% of this policy's choices are of arms that had no chance" in found["reason"]
    assert run("--journal", day[0], "--policy", "arm:v3").exit_code == 1


def test_the_span_of_its_chance_can_be_asked_for(day: tuple[Path, float]) -> None:
    found = answer(day[0], "arm:v3", "--until", "2023-11-14T22:38:20+00:00")

    assert found["decisions"] == DAY // 2
    assert found["to"] == "2023-11-14T22:38:19+00:00"
    assert not found["refused"]
    assert abs(found["snips"] - RATES[2]) < 4 * found["snips_se"]


def test_a_gain_that_may_be_none_is_said_to_be_untold(day: tuple[Path, float]) -> None:
    same = answer(day[0], "weights:v1=0.3125,v2=0.5625,v3=0.125", "--until", "2023-11-14T22:38:20Z")

    assert any(note.startswith("can't tell whether the policy would have earned more") for note in same["notes"])


def test_missing_rewards_are_said_and_money_is_of_all_decisions(tmp_path: Path) -> None:
    earned = simulate(tmp_path, reward_every=2)

    found = answer(tmp_path, "arm:v2")

    assert (found["n"], found["pending"], found["decisions"]) == (DAY // 2, DAY // 2, DAY)
    assert found["notes"][0] == "50% of the decisions have no reward (yet); they are left out"
    assert found["earned_usd"] == pytest.approx(earned, rel=0.2)


def test_a_journal_is_told_in_words(day: tuple[Path, float]) -> None:
    done = run("--journal", day[0], "--policy", "arm:v2")

    assert done.exit_code == 0
    assert done.stdout.startswith("digits-2026: arm:v2, 2023-11-14T22:13:20+00:00 to 2023-11-14T23:03:19+00:00\n")
    assert "3000 decisions, 3000 with a known reward\n" in done.stdout
    assert "\ngain: $" in done.stdout


def test_a_policy_with_arms_of_elsewhere_is_exit_2(day: tuple[Path, float]) -> None:
    done = run("--journal", day[0], "--policy", "arm:v9")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "no arm 'v9'; there are v1, v2, v3" in done.stderr
