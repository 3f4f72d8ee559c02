"""The mutation runner: it changes what it says, and a change that matters is noticed."""

from pathlib import Path

import pytest

from tests import mutants


def test_each_place_is_changed_once() -> None:
    source = "def f(a, b):\n    return a < b and (not a) or a + 2\n"

    found = dict(mutants.mutants(source))

    assert found["a < b -> a <= b"] == "def f(a, b):\n    return a <= b and (not a) or a + 2"
    assert found["a + 2 -> a - 2"] == "def f(a, b):\n    return a < b and (not a) or a - 2"
    assert found["2 -> 3"] == "def f(a, b):\n    return a < b and (not a) or a + 3"
    assert found["not a -> not not a"] == "def f(a, b):\n    return a < b and (not not a) or a + 2"
    assert len(found) == 6


def test_a_change_is_noticed_where_a_test_looks(tmp_path: Path) -> None:
    (tmp_path / "thing.py").write_text("def double(x: int) -> int:\n    return 2 * x\n")
    (tmp_path / "test_thing.py").write_text(
        "from thing import double\n\ndef test_it() -> None:\n    assert double(2) == 4\n"
    )
    module = Path("thing.py")

    assert mutants.is_noticed(tmp_path, module, "def double(x: int) -> int:\n    return 3 * x\n", ["test_thing.py"])
    # Of two and two the sum is the product: this test can't tell.
    assert not mutants.is_noticed(tmp_path, module, "def double(x: int) -> int:\n    return 2 + x\n", ["test_thing.py"])
    assert (tmp_path / "thing.py").read_text().endswith("return 2 * x\n")


def test_flags_of_decorators_are_no_places() -> None:
    source = "@dataclass(frozen=True)\nclass A:\n    is_new: bool = True\n"

    assert [change for change, _ in mutants.mutants(source)] == ["True -> False"]
    assert "frozen=True" in next(changed for _, changed in mutants.mutants(source))


def test_tests_that_fail_anyway_notice_nothing(tmp_path: Path) -> None:
    (tmp_path / "bandits").mkdir()
    (tmp_path / "bandits/worth.py").write_text("ONE = 2\n")
    (tmp_path / "tests/bandits").mkdir(parents=True)
    (tmp_path / "tests/bandits/test_worth.py").write_text(
        "from bandits.worth import ONE\n\ndef test_it() -> None:\n    assert ONE == 1\n"
    )

    with pytest.raises(ValueError, match="must pass before"):
        mutants.survivors_of(tmp_path, Path("bandits/worth.py"))


def test_survivors_are_shown_with_their_reasons() -> None:
    known = mutants.excused("# how\nbandits/a.py | x | y -> x & y | no x has a y\nbandits/a.py | 1 -> 2 | it is gone\n")

    text, is_excused = mutants.report(Path("bandits/a.py"), {"x | y -> x & y"}, known)
    assert text == ("bandits/a.py | x | y -> x & y | no x has a y\nno longer survives: bandits/a.py | 1 -> 2\n")
    assert is_excused
    text, is_excused = mutants.report(Path("bandits/a.py"), {"3 -> 4"}, {})
    assert text == "bandits/a.py | 3 -> 4 | NOT EXCUSED\n"
    assert not is_excused


def test_every_survivor_has_a_reason_and_a_place() -> None:
    known = mutants.excused(mutants.SURVIVORS.read_text())
    # Each module is changed once for all of its entries: once for each took 20 s of a slow machine.
    changes = {
        module: {change for change, _ in mutants.mutants((mutants.ROOT / module).read_text())}
        for module in {module for module, _ in known}
    }

    assert known
    for (module, change), reason in known.items():
        assert change in changes[module], f"{module}: {change} is no place in it any more"
        assert len(reason) > 10
