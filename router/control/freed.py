"""What retiring the losers frees: money where a whole backend can be switched off, else some capacity. Pure."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from router.control.dossier import Dossier
from serving.model_config import Desired
from serving.upstream import Servable


def serves_only(backend: str, desired: Desired | None, arms: Collection[Servable]) -> bool:
    """Say whether a backend has nothing to serve but these arms; of one that is observed nobody knows that."""
    if desired is None:
        return False
    listed = {model: desired.versions(model) for model in desired.models()}
    # None: the server chooses among its files.
    return all(
        versions is not None and all(Servable(backend, model, version) in arms for version in versions)
        for model, versions in listed.items()
    )


def alone_on(
    dossier: Dossier,
    uses: Mapping[Servable, Collection[str]],
    desired: Callable[[str], Desired | None],
    replicas: Mapping[str, int],
) -> dict[str, int]:
    """Return the replicas of each backend that serves nothing but this experiment's arms.

    `uses` names the experiments that need a servable, `desired` what a backend is to serve.
    """
    arms = {Servable(arm.backend, arm.model, arm.version) for arm in dossier.spec.arms}
    shared = {arm.backend for arm in arms if any(name != dossier.name for name in uses.get(arm, ()))}
    return {
        backend: replicas[backend]
        for backend in {arm.backend for arm in arms} - shared
        if serves_only(backend, desired(backend), arms)
    }


def retiring(dossier: Dossier, alone_on: Mapping[str, int], prices_usd_per_hour: Mapping[str, float]) -> dict[str, Any]:
    """Return what is freed a day when all arms go but those that serve at the end, as the state shows it.

    `alone_on` has the replicas of each backend that serves nothing but this experiment's arms. Such a backend can be
    switched off if none of its arms stays: its price for all replicas. Elsewhere $0 is freed, and capacity. Copies of the
    model that stays (its `reward_group`) stay loaded too.
    """
    life, spec = dossier.life, dossier.spec
    stays = life.winner if life.winner is not None else life.leader
    if stays is None:
        return {"frees_usd_day": 0.0, "frees_capacity": True}
    group = spec.arms[stays].reward_group
    copies = [number for number, arm in enumerate(spec.arms) if group is not None and arm.reward_group == group]
    staying = {stays, *life.serves, *copies}
    kept = {spec.arms[number].backend for number in staying}
    losing = {arm.backend for arm in spec.arms}
    off = [backend for backend in sorted(losing - kept) if backend in alone_on and backend in prices_usd_per_hour]
    return {
        "frees_usd_day": sum(24.0 * prices_usd_per_hour[backend] * alone_on[backend] for backend in off),
        # Some arm goes from a backend that stays on.
        "frees_capacity": any(arm.backend not in off for number, arm in enumerate(spec.arms) if number not in staying),
    }


def keeping_usd_day(dossier: Dossier, alone_on: Mapping[str, int], prices_usd_per_hour: Mapping[str, float]) -> float:
    """Return what machines cost a day that only losing arms keep on; nothing once there is a winner."""
    if dossier.life.winner is not None:
        return 0.0
    return float(retiring(dossier, alone_on, prices_usd_per_hour)["frees_usd_day"])
