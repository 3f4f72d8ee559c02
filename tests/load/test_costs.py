"""An order of cost that most trials agree on, and the trials that do not."""

from load.costs.orders import Trial, disagreeing


def trial(**costs_usd: float) -> Trial:
    return Trial("saturated", 0, costs_usd, 1, 100, 0, 1.0)


def test_order_is_from_the_cheapest() -> None:
    assert trial(v1=2.0, v2=1.0, v3=3.0).order == ("v2", "v1", "v3")


def test_trial_with_another_order_or_without_an_arm_disagrees() -> None:
    usual = [trial(v1=1.0, v2=2.0, v3=rate) for rate in (3.0, 4.0, 5.0)]
    other, lacking = trial(v1=2.0, v2=1.0, v3=3.0), trial(v1=1.0, v2=2.0)

    assert disagreeing(usual) == []
    assert disagreeing([*usual, other, lacking]) == [other, lacking]
