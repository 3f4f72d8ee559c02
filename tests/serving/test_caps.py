"""What a backend takes at most, in its own words."""

from serving.caps import Caps, cap_in
from tests.serving.device import V1


def test_a_backends_own_cap_is_read_out_of_its_refusal() -> None:
    assert cap_in("Task size 65 is larger than maximum input batch size 64") == 64
    assert cap_in("ask size 0 is larger than maximum input batch size 0") is None
    assert cap_in("Expects arg[0] to be float") is None


def test_a_cap_only_shrinks_and_the_oldest_are_forgotten() -> None:
    caps = Caps()
    words = "Task size 300 is larger than maximum input batch size {}".format

    assert [caps.learn(V1, words(rows)) for rows in (64, 64, 128, 32)] == [True, False, False, True]
    assert caps.of(V1) == 32
    for version in range(100, 200):
        caps.learn(V1._replace(version=version), words(8))
    assert caps.of(V1) is None
