"""A deployment: what is to become an arm, which step it is at, and how it ended. Pure; the driver does the steps.

Its state is a document in the store, so any gateway that leads goes on where another stopped. Each step may be begun
again at any time: it finds done what was done.

    publish → load → check → warm → (shadow, where a comparison was asked for →) join → done
    any of them → failing (what was loaded is unloaded, what was published is withdrawn) → failed
"""

from typing import Any, Final, Literal

import msgspec

Step = Literal["publish", "load", "check", "warm", "shadow", "join"]
State = Literal["running", "failing", "done", "failed"]
STEPS: Final[tuple[Step, ...]] = ("publish", "load", "check", "warm", "join")
_COMPARED: Final[tuple[Step, ...]] = (*STEPS[:-1], "shadow", STEPS[-1])


class Deployment(msgspec.Struct, frozen=True):
    """One document. `who` began it; times in unix seconds; `error` is why it fails, in the server's own words; `shadow` is
    the comparison that was asked for (router/deploy/comparing.py), `comparison` what came of it."""

    backend: str
    model: str
    version: int
    experiment: str
    arm: str
    digest: str
    size_bytes: int
    who: str
    began_at: float
    changed_at: float
    step: Step = "publish"
    state: State = "running"
    detail: str = ""
    error: str = ""
    shadow: dict[str, Any] | None = None
    comparison: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Its name in the store."""
        return key_of(self.backend, self.model, self.version)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("done", "failed")

    @property
    def after(self) -> Step | None:
        """The step after this one; None after the last."""
        steps = STEPS if self.shadow is None else _COMPARED
        place = steps.index(self.step) + 1
        return steps[place] if place < len(steps) else None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Deployment)


def key_of(backend: str, model: str, version: int) -> str:
    """Return the name under which a deployment is kept: there is one for each version of a model on a backend."""
    return f"{backend}/{model}/{version}"


def forward(deployment: Deployment, now: float) -> Deployment:
    """The step under way is done: go on with the next, or be done."""
    _require(deployment, "running")
    if deployment.after is None:
        return msgspec.structs.replace(deployment, state="done", detail="", changed_at=now)
    return msgspec.structs.replace(deployment, step=deployment.after, detail="", changed_at=now)


def detailed(deployment: Deployment, detail: str, now: float) -> Deployment:
    """Say how far the step under way is."""
    return msgspec.structs.replace(deployment, detail=detail, changed_at=now)


def compared(deployment: Deployment, found: dict[str, Any], refusal: str, now: float) -> Deployment:
    """The version was compared on live requests: keep what was found, and clean up where it may not join."""
    with_it = msgspec.structs.replace(deployment, comparison=found, changed_at=now)
    return failing(with_it, refusal, now) if refusal else with_it


def failing(deployment: Deployment, why: str, now: float) -> Deployment:
    """The step under way can't be done: clean up."""
    _require(deployment, "running")
    return msgspec.structs.replace(deployment, state="failing", error=why, detail="cleaning up", changed_at=now)


def failed(deployment: Deployment, now: float) -> Deployment:
    """All is cleaned up."""
    _require(deployment, "failing")
    return msgspec.structs.replace(deployment, state="failed", detail="", changed_at=now)


def _require(deployment: Deployment, state: State) -> None:
    if deployment.state != state:
        raise AssertionError(f"{deployment.key} is {deployment.state}, not {state}")


def encode(deployment: Deployment) -> bytes:
    """Serialise for the store."""
    return _ENCODER.encode(deployment)


def decode(raw: bytes) -> Deployment:
    """Read from the store; msgspec.ValidationError for what this version can't read."""
    return _DECODER.decode(raw)


def view(deployment: Deployment) -> dict[str, Any]:
    """Return it as the admin API shows it."""
    fields: dict[str, Any] = msgspec.to_builtins(deployment)
    return {"location": f"/admin/v1/models/{deployment.model}/versions/{deployment.version}", **fields}
