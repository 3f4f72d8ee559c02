"""Reading the journal back: each decision once, joined to its reward, and nothing guessed."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from router.journal import lines
from router.journal.reading import NoRecords, Records, read_journal

FILE = "01700000000000-gw-{}-1.jsonl"
SHARES = {"v1": 0.75, "v2": 0.25}


def head(**changes: Any) -> lines.ExperimentLine:
    facts: dict[str, Any] = {"experiment": "digits", "epoch": "e", "value_usd": 0.5, "feedback": "explicit"}
    facts |= {"window_s": 100.0, "reward_low": 0.0, "reward_high": 1.0, "arms": ("v1", "v2")}
    return lines.ExperimentLine(**facts | changes)


def decision(key: int, arm: str = "v1", time: float = 1000.0, **changes: Any) -> lines.DecisionLine:
    shares = changes.pop("shares", SHARES)
    facts: dict[str, Any] = {"time": time, "experiment": "digits", "epoch": "e", "weights_version": 1, "block": 1}
    facts |= {"arm": arm, "propensity": shares[arm], "propensities": msgspec.Raw(msgspec.json.encode(shares))}
    facts |= {"mode": "experiment", "rows": 1, "cost_usd": 1e-6, "nonce_hash": f"{key:016x}", "sample": 1.0}
    return lines.DecisionLine(**facts | changes)


def reward(key: int, value: float, time: float = 1001.0, **changes: Any) -> lines.RewardLine:
    facts: dict[str, Any] = {"time": time, "experiment": "digits", "epoch": "e", "nonce_hash": f"{key:016x}"}
    facts |= {"event": "default", "reward": value, "is_learned": True, "delay_s": 1.0, "sample": 1.0}
    return lines.RewardLine(**facts | changes)


def journal(folder: Path, *written: lines.Line, worker: str = "a", torn: bytes = b"") -> Path:
    (folder / FILE.format(worker)).write_bytes(b"".join(map(lines.encode, written)) + torn)
    return folder


def read(folder: Path, **asked: Any) -> Records:
    return read_journal(folder, **asked)


def test_columns_say_what_was_decided_and_what_came_back(tmp_path: Path) -> None:
    other = {"v1": 0.5, "v2": 0.5}
    folder = journal(
        tmp_path,
        head(),
        decision(1),
        decision(2, "v2"),
        decision(3, "v2", shares=other),
        reward(2, 1.0),
        reward(1, 0.0),
    )

    found = read(folder)

    assert (found.experiment, found.arms, found.value_usd) == ("digits", ("v1", "v2"), 0.5)
    assert found.propensities.tolist() == [[0.75, 0.25], [0.5, 0.5]]
    assert found.weights.tolist() == [0, 0, 1]
    assert found.arm.tolist() == [0, 1, 1]
    assert found.propensity.tolist() == [0.75, 0.25, 0.5]
    assert found.reward.tolist()[:2] == [0.0, 1.0]
    assert np.isnan(found.reward[2])
    assert (found.decisions, found.units, found.unreadable) == (3, None, 0)


def test_a_reward_is_found_in_another_worker_s_file(tmp_path: Path) -> None:
    journal(tmp_path, reward(1, 1.0), worker="a")
    folder = journal(tmp_path, head(), decision(1), worker="b")

    assert read(folder).reward.tolist() == [1.0]


def test_a_decision_that_was_sent_again_counts_once(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), reward(1, 1.0), decision(1, time=1000.5), decision(2))

    assert read(folder).time.tolist() == [1000.0, 1000.0]


def test_events_of_a_decision_enter_as_their_mean(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), reward(1, 1.0), reward(1, 0.5, event="late"))

    assert read(folder).reward.tolist() == [0.75]


def test_what_was_not_drawn_is_set_aside(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), decision(2, mode="fallback"), decision(3, mode="warmup"))

    found = read(folder)

    assert (found.time.size, found.set_aside) == (1, 2)


def test_rewards_that_are_not_learned_are_not_joined(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), reward(1, 1.0, is_learned=False))

    assert np.isnan(read(folder).reward).all()


def test_a_span_of_time_is_of_decisions_not_of_their_rewards(tmp_path: Path) -> None:
    folder = journal(
        tmp_path, decision(1, time=10.0), decision(2, time=20.0), decision(3, time=30.0), reward(2, 1.0, time=99.0)
    )

    found = read(folder, since=20.0, until=30.0)

    assert (found.time.tolist(), found.reward.tolist()) == ([20.0], [1.0])


def test_torn_and_foreign_lines_are_counted(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), torn=b'{"kind":"reward","ti\n\xff\xfe\n{"kind":"else"}\n[]\n{"kind":"dec')

    found = read(folder)

    assert (found.time.size, found.unreadable) == (1, 5)


def test_a_decision_that_contradicts_itself_is_not_used(tmp_path: Path) -> None:
    stranger = decision(3, propensities=msgspec.Raw(b'{"v9":1.0}'))
    folder = journal(
        tmp_path, decision(1), decision(2, propensity=0.7), stranger, decision(4, propensities=msgspec.Raw(b"7"))
    )

    found = read(folder)

    assert (found.time.size, found.unreadable) == (1, 3)


def test_files_of_others_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("hello\n")

    assert read(journal(tmp_path, decision(1))).unreadable == 0


def test_silence_means_nothing_earned_once_the_window_has_passed(tmp_path: Path) -> None:
    folder = journal(
        tmp_path,
        head(feedback="conversions"),
        decision(1, time=1000.0),
        decision(2, time=1000.0),
        decision(3, time=1150.0),
        decision(4, time=1200.0),
        reward(1, 1.0, time=1090.0),
        # Younger than the window: counting it and not its silent fellows would praise the arm.
        reward(3, 1.0, time=1190.0),
    )

    found = read(folder).reward

    assert found[:2].tolist() == [1.0, 0.0]
    assert np.isnan(found[2:]).all()


def test_a_sample_that_was_thinned_is_thinned_throughout(tmp_path: Path) -> None:
    quarter = 2**62
    folder = journal(
        tmp_path,
        decision(quarter - 2**40),
        decision(quarter + 2**40),
        decision(5, sample=0.25),
        reward(quarter - 2**40, 1.0, sample=0.25),
    )

    found = read(folder)

    assert (found.time.size, found.sample, found.decisions) == (2, 0.25, 8.0)


def test_units_are_there_where_units_were_drawn(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1, unit_hash="a" * 16), decision(2, unit_hash="a" * 16), decision(3))

    units = read(folder).units

    assert units is not None
    assert units[0] == units[1] != units[2]


def test_the_experiment_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    folder = journal(tmp_path, decision(1), decision(2, experiment="spam"))

    with pytest.raises(NoRecords, match="name one of digits, spam"):
        read(folder)
    assert read(folder, experiment="spam").time.size == 1
    with pytest.raises(NoRecords, match="nothing of experiment 'ham'"):
        read(folder, experiment="ham")


def test_no_folder_and_an_empty_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match="No such file or directory"):
        read(tmp_path / "nowhere")
    with pytest.raises(NoRecords, match="nothing of any experiment"):
        read(tmp_path)


def test_rewards_without_decisions_are_no_decisions(tmp_path: Path) -> None:
    found = read(journal(tmp_path, reward(1, 1.0)))

    assert (found.time.size, found.decisions, found.arms) == (0, 0.0, ())
