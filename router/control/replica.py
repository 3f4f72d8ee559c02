"""What is known of one replica of a backend, and how operators are shown a backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving import wire
from serving.fleet import Sight
from serving.model_config import Desired
from serving.reconcile import Pace


@dataclass(slots=True)
class Replica:
    """What is known of one replica. Mutable throughout."""

    sight: Sight | None = None
    drift: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
    is_reloading: bool = False
    problem: str = ""  # what the last reload met with
    silence: str = ""  # why it gave no answer


def view_of(
    name: str, control: str, desired: Desired | None, revision: int, replicas: Mapping[str, Replica]
) -> dict[str, Any]:
    """Return a backend as JSON values: what it is to serve (null: the server chooses), and what each replica says."""
    return {
        "name": name,
        "control": control,
        "revision": revision,
        "wanted": {} if desired is None else {model: desired.versions(model) for model in desired.models()},
        "replicas": [
            {
                "address": address,
                "answers": one.sight is not None,
                "is_reloading": one.is_reloading,
                "differs": list(one.drift),
                "problem": one.problem or one.silence or None,
                "models": {} if one.sight is None else _shown(one.sight),
            }
            for address, one in replicas.items()
        ],
    }


def _shown(sight: Sight) -> dict[str, Any]:
    return {
        model: {
            "versions": [
                {
                    "version": one.version,
                    "state": wire.STATE_NAMES.get(one.state, "UNKNOWN"),
                    "error": one.error or None,
                }
                for _, one in sorted(statuses.items())
            ],
            "labels": dict(sight.labels.get(model, {})),
        }
        for model, statuses in sorted(sight.statuses.items())
    }
