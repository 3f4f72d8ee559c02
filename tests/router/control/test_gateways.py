"""Several gateways on one store: whoever leads, each shows all that is in use."""

import asyncio

from router.config.document import validate
from router.config.experiment import Experiment
from router.control import amend
from router.control import dossier as dossiers
from tests.router.control.test_leader import Bench, observed, run
from tests.router.control.world import spec


def test_who_does_not_lead_looks_at_arms_that_people_add_later_too() -> None:
    wanted = spec(arms=2).model_dump(mode="json") | {"name": "later", "model": "bystander"}
    for place, arm in enumerate(wanted["arms"]):
        arm |= {"model": "bystander", "version": 7 + place}
    later, of = validate(Experiment, wanted), observed()

    async def scenario(on: Bench) -> None:
        first = on.lead(of)
        await on.seconds(2, first[0])
        follower, door, _ = on.leader(of)
        await on.seconds(2, first[0], door)
        assert door.published == []
        assert set(follower.servers.view()[0]["replicas"][0]["models"]) == {"digits"}

        draft = amend.found(later, amend.end_rules(later, of.backends), 9)
        await on.store.save_experiment("later", dossiers.encode(draft), 0, None)
        await on.seconds(3, first[0], door)
        await asyncio.sleep(2.0)

        (replica,) = follower.servers.view()[0]["replicas"]
        assert [one["version"] for one in replica["models"]["bystander"]["versions"]] == [7, 8]

    run(scenario)
