"""Shadows as the leader sees them: which arms get copies now, what deployments want compared, and what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bandits.life import Life
from router.control.dossier import Dossier
from router.shadow.sums import ShadowSums
from router.snapshot import PARTS, ShadowRoute

# A deployment asks again four times a second; one that is silent for longer is over, or another gateway's.
_TRIED_S: Final = 5.0
# Gateways that were heard once; each time one starts it has another name.
_SILENT_MAX: Final = 64
# Shadows of one epoch that were, as many as there may be arms: edits begin others.
_SHADOWS_MAX: Final = 64
# Loaded, well, and not about to go.
_ABLE: Final = frozenset({"eligible", "standby"})


@dataclass(frozen=True, slots=True)
class Shadowing:
    """For one experiment: the versions that deployments want compared, and the sums by key, counted since then (unix s)."""

    tried: tuple[ShadowRoute, ...] = ()
    sums: Mapping[str, ShadowSums] = field(default_factory=dict)
    since: float = 0.0


class ShadowBook:
    """Mutable: what deployments want compared and when each last said so, what each gateway counted, and what those
    counted that are gone."""

    def __init__(self, now: float) -> None:
        """`now` in unix s: nothing is known from before."""
        self._since = now
        self._tried: dict[tuple[str, str], tuple[float, ShadowRoute]] = {}
        self._heard: dict[str, dict[int, dict[str, ShadowSums]]] = {}
        self._gone: dict[int, dict[str, ShadowSums]] = {}

    def hear(self, beats: Mapping[str, Mapping[int, Mapping[str, ShadowSums]]], epochs: Iterable[int]) -> None:
        """Take over what each live gateway has counted since its start; keep what others had, of these epochs.

        A shadow that a gateway counts anew, or not any more, keeps what it had there.
        """
        for gateway, beat in beats.items():
            # The silent come first: one that was only away comes back with all it had counted.
            before = self._heard.pop(gateway, {})
            self._heard[gateway] = {epoch: dict(found) for epoch, found in beat.items()}
            for epoch, found in before.items():
                now = beat.get(epoch, {})
                self._keep(epoch, {key: one for key, one in found.items() if _is_anew(one, now.get(key))})
        while len(self._heard) > len(beats) + _SILENT_MAX:
            for epoch, found in self._heard.pop(next(iter(self._heard))).items():
                self._keep(epoch, found)
        for epoch in self._gone.keys() - set(epochs):
            del self._gone[epoch]

    def _keep(self, epoch: int, lost: Mapping[str, ShadowSums]) -> None:
        kept = self._gone.setdefault(epoch, {})
        for key, sums in lost.items():
            kept.setdefault(key, ShadowSums()).merge(sums)
        while len(kept) > _SHADOWS_MAX:
            del kept[next(iter(kept))]

    def attempt(self, experiment: str, route: ShadowRoute, now: float) -> None:
        """Have copies sent to a version that is no arm yet, for as long as this is asked for again and again."""
        self._tried[experiment, route.key] = (now, route)

    def end(self, experiment: str, route: ShadowRoute) -> None:
        """Send it no more copies."""
        self._tried.pop((experiment, route.key), None)

    def of(self, experiment: str, epoch: int, now: float) -> Shadowing:
        """Return what is known of one experiment's shadows."""
        self._tried = {key: one for key, one in self._tried.items() if now - one[0] <= _TRIED_S}
        sums: dict[str, ShadowSums] = {}
        for found in (self._gone, *self._heard.values()):
            for key, one in found.get(epoch, {}).items():
                sums.setdefault(key, ShadowSums()).merge(one)
        tried = tuple(route for (name, _), (_, route) in self._tried.items() if name == experiment)
        return Shadowing(tried, sums, self._since)


def shadow_routes(
    dossier: Dossier, life: Life, shadowing: Shadowing, prices_usd_per_hour: Mapping[str, float]
) -> tuple[ShadowRoute, ...]:
    """Return where copies go now: to the arms that the specification names, and to what deployments try."""
    routes = (*_named(dossier, prices_usd_per_hour), *_tried(shadowing, prices_usd_per_hour))
    return tuple(route for route in routes if waits_for(dossier, life, route) is None)


def waits_for(dossier: Dossier, life: Life, route: ShadowRoute) -> str | None:
    """Say why a shadow gets no copies now; None when it does."""
    for place, arm in enumerate(life.arms):
        spec = dossier.spec.arms[place]
        if (spec.backend, spec.model, spec.version) == (route.backend, route.model, route.version):
            if arm.state not in _ABLE or arm.is_unloading:
                return f"{arm.name} is {arm.state}"
        elif arm.state == "warming" and spec.backend == route.backend:
            # It is measured alone, for its cost.
            return f"{arm.name} is measured on {spec.backend}"
    return "the experiment is archived" if life.phase == "archived" else None


def shadows_view(
    dossier: Dossier, life: Life, shadowing: Shadowing, prices_usd_per_hour: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return each shadow as the state shows it: plain JSON values, counts since `since` (unix s), money in dollars."""
    return [
        {
            "arm": route.name,
            "version": route.version,
            "backend": route.backend,
            "is_deployment": bool(route.run),
            "share": route.parts / PARTS,
            "against": [life.arms[place].name for place in route.against],
            "waits_for": waits_for(dossier, life, route),
            "since": shadowing.since,
            **(shadowing.sums.get(route.key) or ShadowSums()).view(),
        }
        for route in (*_named(dossier, prices_usd_per_hour), *_tried(shadowing, prices_usd_per_hour))
    ]


def _named(dossier: Dossier, prices_usd_per_hour: Mapping[str, float]) -> Sequence[ShadowRoute]:
    shadow = dossier.spec.shadow
    arms = [dossier.spec.arms[dossier.spec.arm(name)] for name in shadow.arms]
    return [
        ShadowRoute(
            name=arm.name,
            backend=arm.backend,
            model=arm.model,
            version=arm.version,
            parts=round(shadow.share * PARTS),
            against=tuple(dossier.spec.arm(name) for name in shadow.against),
            max_in_flight=shadow.max_in_flight,
            timeout_s=shadow.timeout,
            tolerance=shadow.tolerance,
            price_usd_per_hour=prices_usd_per_hour.get(arm.backend, 0.0),
        )
        for arm in arms
    ]


def _tried(shadowing: Shadowing, prices_usd_per_hour: Mapping[str, float]) -> Sequence[ShadowRoute]:
    return [
        msgspec.structs.replace(route, price_usd_per_hour=prices_usd_per_hour.get(route.backend, 0.0))
        for route in shadowing.tried
    ]


def _is_anew(before: ShadowSums, now: ShadowSums | None) -> bool:
    return now is None or now.requests < before.requests
