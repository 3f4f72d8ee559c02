"""The comparison of a deployed version on live requests before it becomes an arm: what is asked of it, and the verdict.

Copies of requests that arms answered go to the version (router/shadow/); this only says for how long, and what they show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from pydantic import Field, Strict

from router.config.document import BadInput, Document, Problem, there_are
from router.config.fields import DAY, MINUTE, Duration, Name, format_duration
from router.control.dossier import Dossier
from router.control.shadows import ShadowBook, waits_for
from router.deploy.deployment import Deployment, compared, detailed, forward
from router.deploy.refusals import DeployRefused
from router.shadow.sums import STEPS, ShadowSums
from router.snapshot import PARTS, ShadowRoute

# The store is told how far a comparison is no more often.
_TELL_S: Final = 1.0


class NotAlike(DeployRefused):
    """The version does not agree with what clients are answered, or too little of it could be seen."""


class Comparison(Document):
    """What a deployment asks of the version's answers to copies of live requests."""

    # Of 200 requests an agreement of 0.9 is known within 0.04 (95 %).
    requests: int = Field(default=200, ge=1, le=1_000_000)
    # Copies that are not answered count as disagreeing. 0: whatever it is, it is only written down.
    min_agreement: float = Field(default=0.0, ge=0, le=1)
    # All that it may have: it is over the sooner.
    share: float = Field(default=1.0, gt=0, le=1)
    # Arms whose answers it is compared with; none named: those of all.
    against: Annotated[tuple[Name, ...], Strict(False)] = ()
    # When so many requests have not been compared by then, the version does not join.
    timeout: Duration = Field(default=10 * MINUTE, ge=1, le=DAY)
    # As of an experiment's `shadow`.
    max_in_flight: int = Field(default=4, ge=1, le=64)
    call_timeout: Duration = Field(default=5.0, ge=0.001, le=MINUTE)
    tolerance: float = Field(default=0.01, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison is over; `refusal` says why the version may not join, and is empty when it may."""

    refusal: str = ""


def judge(asked: Comparison, sums: ShadowSums, waited_s: float, waits: str | None = None) -> Verdict | None:
    """Return the verdict on what was counted in so many seconds; None while it takes more. `waits`: why no copies go."""
    failed = sum(sums.errors.values())
    seen = sums.compared + failed
    agreed_q = sums.agreement_q
    if seen < asked.requests:
        # All that is still to come may agree.
        best = (agreed_q / STEPS + asked.requests - seen) / asked.requests
        if best >= asked.min_agreement:
            if waited_s <= asked.timeout:
                return None
            return Verdict(_too_little(asked, sums, seen, waits))
    found = agreed_q / STEPS / seen
    if found >= asked.min_agreement:
        return Verdict()
    words = f"its answers agree with those of the arms to {found:.4g}; {asked.min_agreement:g} was asked for"
    return Verdict(f"{words}. {_counted(sums, seen)}")


def _counted(sums: ShadowSums, seen: int) -> str:
    failed = _listed(sums.errors)
    words = f"Of {seen} live requests {sums.agreed} agreed wholly, {sums.compared - sums.agreed} differed"
    words += f", and {sum(sums.errors.values())} were not answered{failed and f' ({failed})'}"
    if sums.outputs:
        name, output = min(sums.outputs.items(), key=lambda one: one[1].agreement_q / max(1, one[1].compared))
        view = output.view()
        words += f"; the output '{name}' agrees to {view['agreement']:.4g}"
        if view["max_abs"] is not None:
            words += f" (differences up to {view['max_abs']:.4g}, {view['mean_abs']:.4g} in the mean)"
        if output.faults:
            words += f", at fault: {_listed(output.faults)}"
    return words


def _too_little(asked: Comparison, sums: ShadowSums, seen: int, waits: str | None) -> str:
    after = format_duration(asked.timeout)
    words = f"only {seen} of {asked.requests} live requests were compared within {after}, which shows too little"
    if waits is not None:
        return f"{words}: no copies are sent while {waits}"
    if not sums.requests:
        whose = f"by {', '.join(asked.against)} " if asked.against else ""
        return f"{words}: no request that could be copied was answered {whose}in that time"
    dropped = _listed(sums.dropped)
    words += (
        f": {sums.requests} were to be copied, {sum(sums.dropped.values())} could not be{dropped and f' ({dropped})'}"
    )
    return f"{words}. {_counted(sums, seen)}" if seen else words


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


class Grounds(Protocol):
    """What a comparison needs of experiments."""

    async def experiment_of(self, deployment: Deployment) -> Dossier:
        """Return the experiment that it is to join; DeployRefused when it may not."""


class Comparing:
    """Watches the comparisons of one gateway. Mutable: since when each goes on, and when the store was last told."""

    def __init__(self, *, book: ShadowBook, experiments: Grounds, unix_now: Callable[[], float]) -> None:
        self._book, self._experiments, self._unix_now = book, experiments, unix_now
        self._since: dict[str, float] = {}
        self._told_at: dict[str, float] = {}

    async def look(self, deployment: Deployment) -> Deployment:
        """See how far it is, and return what comes after; the same when there is nothing to tell. DeployRefused, with the
        numbers, when the version may not join.
        """
        now, asked = self._unix_now(), Comparison.from_json(deployment.shadow or {})
        try:
            dossier = await self._experiments.experiment_of(deployment)
            route = _route(deployment, asked, dossier)
        except DeployRefused:
            self._forget(deployment)
            raise
        self._book.attempt(deployment.experiment, route, now)
        since = self._since.setdefault(deployment.key, now)
        sums = self._book.of(deployment.experiment, dossier.document.epoch, now).sums.get(route.key, ShadowSums())
        verdict = judge(asked, sums, now - since, waits_for(dossier, dossier.life, route))
        if verdict is None:
            return self._told(deployment, asked, sums, now)
        self._book.end(deployment.experiment, route)
        self._forget(deployment)
        after = compared(deployment, sums.view(), verdict.refusal, now)
        return after if verdict.refusal else forward(after, now)

    def _told(self, deployment: Deployment, asked: Comparison, sums: ShadowSums, now: float) -> Deployment:
        seen = sums.compared + sum(sums.errors.values())
        detail = f"{seen} of {asked.requests} requests compared"
        if sums.agreement is not None:
            detail += f", agreement {sums.agreement:.4g}"
        if detail == deployment.detail or now - self._told_at.get(deployment.key, 0.0) < _TELL_S:
            return deployment
        self._told_at[deployment.key] = now
        return detailed(deployment, detail, now)

    def _forget(self, deployment: Deployment) -> None:
        self._since.pop(deployment.key, None)
        self._told_at.pop(deployment.key, None)


def check_against(names: Sequence[str], dossier: Dossier) -> None:
    """Raise BadInput when a comparison is to be with an arm that is not there."""
    known = [arm.name for arm in dossier.spec.arms]
    words = f"must name an arm of {dossier.name}"
    problems = [
        Problem(("against", place), f"{words}; got '{name}', {there_are(known)}")
        for place, name in enumerate(names)
        if name not in known
    ]
    if problems:
        raise BadInput(problems)


def _route(deployment: Deployment, asked: Comparison, dossier: Dossier) -> ShadowRoute:
    known = {arm.name: place for place, arm in enumerate(dossier.spec.arms)}
    missing = [name for name in asked.against if name not in known]
    if missing:
        raise NotAlike(f"it was to be compared with '{missing[0]}', which {dossier.name} has no more")
    return ShadowRoute(
        name=deployment.arm,
        backend=deployment.backend,
        model=deployment.model,
        version=deployment.version,
        parts=round(asked.share * PARTS),
        against=tuple(known[name] for name in asked.against),
        max_in_flight=asked.max_in_flight,
        timeout_s=asked.call_timeout,
        tolerance=asked.tolerance,
        # One that is deployed again is compared anew.
        run=f"{deployment.began_at:.3f}",
    )
