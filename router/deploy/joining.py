"""How a deployed version becomes an arm: which experiment it joins, and the revision that adds it."""

from collections.abc import Mapping
from typing import Any, Final

from bandits.operate import OPEN, inner_phase
from router.admin.answers import Refused
from router.admin.desk import Asked, Desk
from router.config.document import BadInput, validate
from router.config.experiment import Experiment
from router.control.dossier import Dossier, dossier_of
from router.control.reopen import takes_new_arms
from router.deploy.deployment import Deployment
from router.deploy.publishing import Spot
from router.deploy.refusals import DeployRefused, NoPlace
from router.problems import Problem
from router.store import Store
from serving.upstream import Servable

_ROLE: Final = "admin"


class MayNotJoin(DeployRefused):
    """The experiment takes no new arm now, or has one of this name."""

    problem = Problem.STATE


class Joining:
    """Finds experiments, and adds arms to them by the admin desk, as a person would."""

    def __init__(self, *, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    async def experiment_for(self, spot: Spot, version: int, arm: str, named: str | None) -> Dossier:
        """Return the experiment that the arm is to join; DeployRefused when there is none, or it may not."""
        dossiers = await self._dossiers()
        if named is not None:
            found = [one for one in dossiers if one.name == named]
        else:
            found = [one for one in dossiers if _is_about(one, spot) and _takes_arms(one)]
        if not found and (closed := [one for one in dossiers if named is None and _is_about(one, spot)]):
            phases = ", ".join(f"{one.name} is {one.life.phase}" for one in closed)
            raise MayNotJoin(f"no experiment takes {spot.model} as a new arm now: {phases}; make another one")
        if not found:
            raise NoPlace(f"there is no experiment {named or 'that ' + spot.model + ' could join'}")
        if len(found) > 1:
            raise NoPlace(f"{spot.model} is in {', '.join(one.name for one in found)}: say which, experiment=…")
        _check(found[0], Servable(spot.backend, spot.model, version), arm)
        return found[0]

    async def control(self, deployment: Deployment) -> Servable:
        """Return the control of the experiment that it is to join."""
        dossier = await self.experiment_of(deployment)
        arm = dossier.spec.arms[dossier.life.control]
        return Servable(arm.backend, arm.model, arm.version)

    async def experiment_of(self, deployment: Deployment) -> Dossier:
        """Return the experiment that it is to join; DeployRefused when it may not."""
        dossier = await self._find(deployment)
        _check(dossier, _target(deployment), deployment.arm)
        return dossier

    async def join(self, deployment: Deployment) -> None:
        """Add the arm, unless it is there."""
        dossier = await self._find(deployment)
        if _check(dossier, _target(deployment), deployment.arm):
            return
        why = f"deployed by {deployment.who}"
        asked = Asked(who=deployment.who, role=_ROLE, what=f"deploy {deployment.arm}", why=why)
        try:
            await self._desk.replace(deployment.experiment, lambda now: _with_arm(now, deployment), asked)
        except Refused as error:
            raise MayNotJoin(error.detail) from error
        except BadInput as error:
            raise MayNotJoin(str(error)) from error

    async def has(self, deployment: Deployment) -> bool:
        """Say whether its experiment has it as an arm now: it may have been dropped, or rolled back, since it joined."""
        return any(
            (arm["name"], arm["backend"], arm["model"], arm["version"])
            == (deployment.arm, deployment.backend, deployment.model, deployment.version)
            for dossier in await self._dossiers()
            if dossier.name == deployment.experiment
            for arm in dossier.document.spec["arms"]
        )

    async def needs(self, deployment: Deployment) -> bool:
        """Say whether any experiment that is not put away has this version for an arm."""
        return any(
            Servable(arm.backend, arm.model, arm.version) == _target(deployment)
            for dossier in await self._dossiers()
            if dossier.life.phase != "archived"
            for arm in dossier.spec.arms
        )

    async def _find(self, deployment: Deployment) -> Dossier:
        for dossier in await self._dossiers():
            if dossier.name == deployment.experiment:
                return dossier
        raise NoPlace(f"the experiment {deployment.experiment} is gone")

    async def _dossiers(self) -> list[Dossier]:
        return [dossier_of(one.name, one.revision, one.document) for one in await self._store.experiments()]


# Phases in which an experiment takes a new arm.
_TAKING: Final = frozenset({"draft", *OPEN})


def _target(deployment: Deployment) -> Servable:
    return Servable(deployment.backend, deployment.model, deployment.version)


def _takes_arms(dossier: Dossier) -> bool:
    return inner_phase(dossier.life) in _TAKING or takes_new_arms(dossier)


def _is_about(dossier: Dossier, spot: Spot) -> bool:
    return any((arm.backend, arm.model) == (spot.backend, spot.model) for arm in dossier.spec.arms)


def _check(dossier: Dossier, target: Servable, name: str) -> bool:
    """Say whether the arm is there already; MayNotJoin when the experiment can't take it."""
    known = {arm.name: Servable(arm.backend, arm.model, arm.version) for arm in dossier.spec.arms}
    wanted = {arm["name"] for arm in dossier.document.spec["arms"]}
    if known.get(name) == target and name in wanted:
        return True
    if name in known and known[name] != target:
        raise MayNotJoin(f"'{name}' is {known[name]} in {dossier.name} already: take another name")
    for other, servable in known.items():
        if servable == target and other != name:
            raise MayNotJoin(f"{target} is the arm '{other}' of {dossier.name} already")
    if not _takes_arms(dossier):
        raise MayNotJoin(f"the experiment {dossier.name} is {dossier.life.phase}: make another one for a new arm")
    return False


def _with_arm(dossier: Dossier, deployment: Deployment) -> Experiment:
    spec: Mapping[str, Any] = dossier.document.spec
    arm = {
        "name": deployment.arm,
        "backend": deployment.backend,
        "model": deployment.model,
        "version": deployment.version,
    }
    return validate(Experiment, {**spec, "arms": [*spec["arms"], arm]})
