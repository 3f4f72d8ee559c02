"""What somebody else did to the model servers, seen in their status: facts for the life of an experiment. Pure."""

from bandits.life import ArmFailed, Event, Unloaded
from router.control.dossier import Dossier
from router.control.model_servers import ModelServers
from serving import fleet


def noticed(dossier: Dossier, servers: ModelServers, now: float) -> list[Event]:
    """Return the losers that were unloaded on observed servers, and the arms that are no longer what they were.

    Only what every replica says counts, for a version that is gone; one replica is enough for a signature that differs.
    """
    events: list[Event] = []
    control = dossier.spec.arms[dossier.life.serving]
    for place, (arm, life) in enumerate(zip(dossier.spec.arms, dossier.life.arms, strict=True)):
        is_gone = fleet.everywhere(servers.statuses(arm.backend, arm.model), fleet.is_gone, arm.version)
        if is_gone and life.state == "standby" and not servers.is_managed(arm.backend):
            events.append(Unloaded(now, place))
        elif is_gone and life.state == "eligible":
            name = f"{arm.backend}/{arm.model}/{arm.version}"
            events.append(ArmFailed(now, place, f"{name} is loaded on no replica any more: somebody else unloaded it"))
        elif life.state == "eligible" and place != dossier.life.serving:
            wanted = servers.signatures(control.backend, control.model, control.version)
            found = servers.signatures(arm.backend, arm.model, arm.version)
            name = f"{arm.backend}/{arm.model}/{arm.version}"
            why = next((why for one in found for two in wanted if (why := fleet.difference(one, two, name))), "")
            if why:
                events.append(ArmFailed(now, place, why))
    return events
