"""A version joins when enough live requests were compared and agree; every other end says so with its numbers."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config.document import BadInput
from router.control.dossier import Dossier
from router.control.shadows import ShadowBook
from router.deploy.comparing import Comparing, Comparison, NotAlike, check_against, judge
from router.deploy.deployment import Deployment
from router.deploy.refusals import DeployRefused
from router.shadow.sums import ShadowSums
from router.snapshot import PARTS
from serving.comparison import Difference
from tests.router.control.world import EPOCH, seeded, spec
from tests.router.deploy.test_deployment import BEGUN

ASKED = Comparison.from_json({"requests": 10, "min_agreement": 0.9, "timeout": "1m"})
WANTED = msgspec.structs.replace(BEGUN, step="shadow", shadow=ASKED.model_dump(mode="json"), began_at=5.0)


def counted(agreed: int, differing: int = 0, failed: int = 0, **dropped: int) -> ShadowSums:
    sums = ShadowSums(requests=agreed + differing + failed + sum(dropped.values()), dropped=dropped)
    for number in range(agreed + differing):
        share = float(number < agreed)
        sums.compare({"scores": Difference(share, max_abs=0.5 - share / 2, mean_abs=0.1, max_relative=0.1)}, 0.01, 0.01)
    for _ in range(failed):
        sums.failed("backend")
    return sums


def test_version_that_agrees_may_join_once_enough_was_seen() -> None:
    assert judge(ASKED, counted(9), 5.0) is None
    verdict = judge(ASKED, counted(9, 1), 5.0)
    assert verdict is not None
    assert verdict.refusal == ""


@pytest.mark.parametrize(
    ("sums", "words"),
    [
        (
            counted(8, 2),
            "its answers agree with those of the arms to 0.8; 0.9 was asked for. Of 10 live requests 8 agreed wholly, "
            "2 differed, and 0 were not answered; the output 'scores' agrees to 0.8 (differences up to 0.5, 0.1 in the mean)",
        ),
        # It can't be made up for any more.
        (
            counted(0, 2),
            "its answers agree with those of the arms to 0; 0.9 was asked for. Of 2 live requests 0 agreed wholly, "
            "2 differed, and 0 were not answered; the output 'scores' agrees to 0 (differences up to 0.5, 0.1 in the mean)",
        ),
        (
            counted(0, 0, 2),
            "its answers agree with those of the arms to 0; 0.9 was asked for. Of 2 live requests 0 agreed wholly, "
            "0 differed, and 2 were not answered (2 backend)",
        ),
    ],
)
def test_version_that_differs_is_refused_with_the_numbers(sums: ShadowSums, words: str) -> None:
    verdict = judge(ASKED, sums, 5.0)

    assert verdict is not None
    assert verdict.refusal == words


@pytest.mark.parametrize(
    ("sums", "waits", "words"),
    [
        (counted(0), None, ": no request that could be copied was answered in that time"),
        (counted(0), "v1 is measured on tfs-a", ": no copies are sent while v1 is measured on tfs-a"),
        (
            counted(3, busy=4, large=1),
            None,
            ": 8 were to be copied, 5 could not be (4 busy, 1 large). Of 3 live requests 3",
        ),
    ],
)
def test_too_little_traffic_is_said_as_what_it_is(sums: ShadowSums, waits: str | None, words: str) -> None:
    assert judge(ASKED, sums, 60.0, waits) is None
    verdict = judge(ASKED, sums, 60.1, waits)

    assert verdict is not None
    assert verdict.refusal.startswith("only ")
    assert f"of 10 live requests were compared within 1m, which shows too little{words}" in verdict.refusal


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.floats(0, 1), st.floats(0, 120))
def test_nothing_joins_that_was_not_compared_enough_or_agrees_too_little(
    agreed: int, differing: int, failed: int, least: float, waited_s: float
) -> None:
    asked = Comparison.from_json({"requests": 10, "min_agreement": least, "timeout": "1m"})
    seen = agreed + differing + failed

    verdict = judge(asked, counted(agreed, differing, failed), waited_s)

    if verdict is None:
        assert seen < 10
        assert waited_s <= 60
    elif not verdict.refusal:
        assert seen >= 10
        assert agreed / seen >= least
    else:
        assert agreed < least * max(seen, 10) or (seen < 10 and waited_s > 60)


class Grounds:
    """The experiment that is joined. Mutable: why it takes no more."""

    refusal = ""

    async def experiment_of(self, deployment: Deployment) -> Dossier:
        if self.refusal:
            raise DeployRefused(self.refusal)
        found = seeded(spec())
        return found.with_life(found.life)


class Bench:
    """A comparison that goes on. Mutable: the time, and what the worker counted."""

    def __init__(self) -> None:
        self.now = 100.0
        self.book = ShadowBook(self.now)
        self.grounds = Grounds()
        self.comparing = Comparing(book=self.book, experiments=self.grounds, unix_now=lambda: self.now)

    def look(self, deployment: Deployment = WANTED) -> Deployment:
        return asyncio.run(self.comparing.look(deployment))

    def keys(self) -> list[str]:
        return [route.key for route in self.book.of("digits", EPOCH, self.now).tried]

    def hear(self, sums: ShadowSums) -> None:
        (key,) = self.keys()
        self.book.hear({"a": {EPOCH: {key: sums}}}, [EPOCH])


def test_comparison_has_copies_sent_and_goes_on_to_the_next_step() -> None:
    on = Bench()
    asked = {**(WANTED.shadow or {}), "against": ["v2"], "share": 0.5}
    began = on.look(msgspec.structs.replace(WANTED, shadow=asked))
    (route,) = on.book.of("digits", EPOCH, on.now).tried
    assert (route.name, route.version, route.parts, route.against) == ("v7", 7, PARTS // 2, (1,))
    assert (began.step, began.detail) == ("shadow", "0 of 10 requests compared")

    on = Bench()
    began = on.look()
    on.hear(counted(4))
    assert on.look(began) is began
    on.now += 2.0
    going = on.look(began)
    assert going.detail == "4 of 10 requests compared, agreement 1"
    on.hear(counted(10))
    over = on.look(going)

    assert (over.step, over.state, over.detail) == ("join", "running", "")
    assert over.comparison is not None
    assert (over.comparison["compared"], over.comparison["agreement"]) == (10, 1.0)
    assert on.keys() == []


def test_refusal_keeps_what_was_found() -> None:
    on = Bench()
    began = on.look()
    on.hear(counted(0, 10))

    over = on.look(began)

    assert (over.step, over.state) == ("shadow", "failing")
    assert "agree with those of the arms to 0; 0.9 was asked for" in over.error
    assert over.comparison is not None
    assert over.comparison["differing"] == 10
    assert on.keys() == []


def test_comparison_that_is_begun_again_has_its_whole_time() -> None:
    on = Bench()
    began = on.look()
    on.now += 50.0
    on.look(began)

    again = Comparing(book=on.book, experiments=on.grounds, unix_now=lambda: on.now)
    asyncio.run(again.look(began))
    on.now += 50.0

    assert asyncio.run(again.look(began)).state == "running"
    assert on.look(began).state == "failing"


def test_experiment_that_ended_meanwhile_is_no_place_to_join() -> None:
    on = Bench()
    on.look()
    on.grounds.refusal = "the experiment is archived"

    with pytest.raises(DeployRefused, match="archived"):
        on.look()

    on.grounds.refusal = ""
    with pytest.raises(NotAlike, match="'v9', which digits has no more"):
        on.look(msgspec.structs.replace(WANTED, shadow={"against": ["v9"]}))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"requests": 0}, "requests: must be at least 1; got 0"),
        ({"min_agreement": 1.5}, "min_agreement: must be at most 1; got 1.5"),
        ({"timeout": 60}, "timeout: must be a duration with a unit"),
        ({"speed": 1}, "speed: unknown setting"),
    ],
)
def test_what_makes_no_sense_is_refused(written: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Comparison.from_json(written)


def test_arms_that_are_not_there_are_named() -> None:
    with pytest.raises(BadInput, match=r"against\[1\]: must name an arm of digits; got 'v9', there are v1, v2, v3"):
        check_against(("v1", "v9"), seeded(spec()))
