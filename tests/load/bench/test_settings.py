"""What a bench is told is checked before it measures."""

from pathlib import Path

import pytest

from load.bench.settings import CannotRun, check, settings


def test_a_bench_that_is_told_nothing_measures_all() -> None:
    chosen = settings("NOBODYS", rounds=3, seconds=4.0)

    assert (chosen.rounds, chosen.seconds, chosen.is_whole) == (3, 4.0, True)
    assert chosen.only.search("anything")


def test_a_bench_does_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"ONLY": "^envoy$", "ROUNDS": "1", "SECONDS": "0.5"}.items():
        monkeypatch.setenv(f"NOBODYS_{name}", text)

    chosen = settings("NOBODYS", rounds=3, seconds=4.0)

    assert (chosen.rounds, chosen.seconds, chosen.is_whole) == (1, 0.5, False)
    assert not chosen.only.search("turpin envoy front")


@pytest.mark.parametrize(
    ("name", "text", "is_whole"),
    [("ONLY", "envoy", False), ("ROUNDS", "1", False), ("SECONDS", "1", False), ("ROUNDS", "5", True)],
)
def test_what_was_measured_for_less_is_not_kept(
    name: str, text: str, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NOBODYS_{name}", text)

    assert settings("NOBODYS", rounds=3, seconds=4.0).is_whole == is_whole


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ONLY", "(", r"NOBODYS_ONLY must be a regular expression, got '\('"),
        ("ROUNDS", "0", "NOBODYS_ROUNDS must be a number above 0, got '0'"),
        ("ROUNDS", "1.5", "NOBODYS_ROUNDS must be a whole number"),
        ("SECONDS", "soon", "NOBODYS_SECONDS must be a number above 0, got 'soon'"),
        ("SECONDS", "inf", "NOBODYS_SECONDS must be a number above 0"),
    ],
)
def test_what_is_no_setting_is_said(name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"NOBODYS_{name}", text)

    with pytest.raises(CannotRun, match=said):
        settings("NOBODYS", rounds=3, seconds=4.0)


def test_programs_that_are_missing_are_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CannotRun, match="h2load \\(nghttp2-client in Debian\\), taskset"):
        check(None)


def test_a_result_that_could_not_be_kept_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("h2load", "taskset"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    check(tmp_path / "bench.json")
    with pytest.raises(CannotRun, match="can't be kept"):
        check(tmp_path / "nowhere" / "bench.json")
    assert not (tmp_path / "bench.json").exists()
