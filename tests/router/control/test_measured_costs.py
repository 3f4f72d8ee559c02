"""What probes say of an arm's cost: the dossier keeps it while there are too few of them to say anything."""

from dataclasses import replace

import pytest

from bandits.experiment import begin, step
from bandits.life import Start, to_json
from router.config.document import validate
from router.config.experiment import Experiment
from router.control.dossier import ArmCost, Document, Dossier
from router.control.learner import refresh
from router.control.seen import Seen, deciding_cost_usd
from router.heartbeat import ArmBeat, ExperimentBeat

SPEC = {
    "name": "digits",
    "model": "digits",
    "control": "v1",
    "arms": [{"name": f"v{n}", "backend": "a", "version": n} for n in (1, 2)],
    "objective": {"value_usd": 1e-6},
}
# Each took twice as long as alone.
SLOW = (4, 0.012)


def test_what_was_decided_keeps_the_costs_it_was_decided_on() -> None:
    # Shown beside one another, a value of the decision and a cost of later would contradict each other.
    spec = validate(Experiment, SPEC)
    life = step(begin(("v1", "v2"), 0, spec.end_rules()), Start(0.0, who="test")).life
    life = replace(life, phase="concluded", winner=0, outcome="kept")
    document = Document(
        spec=spec.model_dump(mode="json"),
        epoch=1,
        life=to_json(life),
        costs={"v1": ArmCost(0.002, 0.001, scale=3.0)},
        reference_rows=4,
    )
    beat = ExperimentBeat(1, (ArmBeat(0, probes=(SLOW,) * 15, batch_rows={64: 500}), ArmBeat(0)))
    seen = Seen(cells={}, beats=[beat], prices_usd_per_hour={"a": 1.0}, calibrated={}, events=[])

    done = refresh(Dossier("digits", 1, document, spec, life), seen, version=1, now=1.0)

    assert done.dossier.document.costs == document.costs
    assert done.dossier.document.reference_rows == 4


@pytest.mark.parametrize(("probes", "scale"), [(0, 3.0), (1, 3.0), (4, 3.0), (5, 2.0), (15, 2.0)])
def test_scale_stands_until_there_are_enough_probes(probes: int, scale: float) -> None:
    # A worker that was killed took its probes along, and its successor has made few so far.
    spec = validate(Experiment, SPEC)
    life = step(begin(("v1", "v2"), 0, spec.end_rules()), Start(0.0, who="test")).life
    document = Document(
        spec=spec.model_dump(mode="json"), epoch=1, life=to_json(life), costs={"v1": ArmCost(0.002, 0.001, scale=3.0)}
    )
    beat = ExperimentBeat(1, (ArmBeat(0, probes=(SLOW,) * probes), ArmBeat(0)))
    seen = Seen(cells={}, beats=[beat], prices_usd_per_hour={"a": 1.0}, calibrated={}, events=[])

    done = refresh(Dossier("digits", 1, document, spec, life), seen, version=1, now=1.0)

    assert done.dossier.document.costs["v1"].scale == pytest.approx(scale)


@pytest.mark.parametrize(("is_merged", "rows", "cost_usd"), [(True, 64, 0.002 / 64 + 0.001), (False, 4, 0.003)])
def test_arm_whose_requests_go_alone_is_costed_alone_and_sets_no_size(
    is_merged: bool, rows: int, cost_usd: float
) -> None:
    spec = validate(Experiment, SPEC)
    life = step(begin(("v1", "v2"), 0, spec.end_rules()), Start(0.0, who="test")).life
    costs = {"v1": ArmCost(0.002, 0.001, is_merged=is_merged)}
    document = Document(spec=spec.model_dump(mode="json"), epoch=1, life=to_json(life), costs=costs, reference_rows=4)
    beat = ExperimentBeat(1, (ArmBeat(0, batch_rows={64: 500}), ArmBeat(0)))
    seen = Seen(cells={}, beats=[beat], prices_usd_per_hour={"a": 3600.0}, calibrated={}, events=[])

    done = refresh(Dossier("digits", 1, document, spec, life), seen, version=1, now=1.0)

    assert done.dossier.document.reference_rows == rows
    assert deciding_cost_usd(done.dossier, 0, {"a": 3600.0}) == pytest.approx(cost_usd)
    assert [arm.is_merged for arm in done.snapshot.arms] == [is_merged, True]
