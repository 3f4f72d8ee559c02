"""The mutation runner: it changes what it says, and a change that matters is noticed."""

from pathlib import Path

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


def test_every_survivor_has_a_reason_and_a_place() -> None:
    for (module, change), reason in mutants.excused(mutants.SURVIVORS.read_text()).items():
        assert (mutants.ROOT / module).exists()
        assert change in {change for change, _ in mutants.mutants((mutants.ROOT / module).read_text())}
        assert len(reason) > 10
