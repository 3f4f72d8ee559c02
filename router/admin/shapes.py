"""What the admin port answers, as models: they describe the answers in `/openapi.json`, and a test holds answers to them.

Nothing is validated by them while serving: what is answered was made here. Those of experiments are in experiment_shapes.py.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

UnixS = Annotated[float, Field(description="unix seconds")]


class Shape(BaseModel):
    """An answer whose members are all here."""

    model_config = ConfigDict(extra="forbid")


class Wide(BaseModel):
    """An answer that has at least these members."""

    model_config = ConfigDict(extra="allow")


class FieldError(Shape):
    """One value that is not acceptable, by its place in the body."""

    field: str
    message: str


class ProblemDocument(Shape):
    """What went wrong (RFC 9457); `type` is stable, `detail` is for a person, `errors` names every field."""

    type: Annotated[str, Field(pattern="^urn:turpin:problem:")]
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Alive(Shape):
    """The process lives."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether requests are served."""

    ready: bool


class Version(Shape):
    """Which version answers; on loopback without tokens also where the made token lies."""

    version: str
    token_file: str | None = None


class WhoAmI(Shape):
    """Who calls: the name of the token, empty where reading is open and none was sent, and its role."""

    name: str
    role: Literal["viewer", "operator", "admin"]


class AuditRow(Shape):
    """One change that somebody asked for."""

    at: UnixS
    who: str
    role: str
    what: str
    experiment: str
    revision: int
    why: str
    before: Any
    after: Any


class Audit(Shape):
    """A page of the audit; `next` is there if there are older rows."""

    audit: list[AuditRow]
    next: str | None = None


class BackendList(Shape):
    """What every model server has loaded, and is to have."""

    backends: list[dict[str, Any]]


class PriceRow(Shape):
    """What a backend costs an hour, and what its feed says."""

    backend: str
    usd_per_hour: float | None
    feed: str | None
    key: str | None
    age_s: float | None
    stale: bool
    waiting_usd_per_hour: float | None
    error: str
    warning: str


class PriceList(Shape):
    """The prices of all backends."""

    prices: list[PriceRow]


class PriceAccepted(Shape):
    """A price that holds from the next refresh on."""

    backend: str
    usd_per_hour: float


class Costs(Wide):
    """The bills of all model servers, bystanders included."""

    since: UnixS | None
    backends: list[dict[str, Any]]
    versions: list[dict[str, Any]]


class DeploymentShown(Shape):
    """How far the deployment of a version is."""

    location: str
    backend: str
    model: str
    version: int
    experiment: str
    arm: str
    digest: str
    size_bytes: int
    who: str
    began_at: UnixS
    changed_at: UnixS
    step: Literal["publish", "load", "check", "warm", "shadow", "join"]
    state: Literal["running", "failing", "done", "failed"]
    detail: str
    error: str
    shadow: Annotated[dict[str, Any] | None, Field(description="the comparison that was asked for")]
    comparison: Annotated[dict[str, Any] | None, Field(description="what it showed")]


class DeploymentList(Shape):
    """All deployments, the newest first."""

    deployments: list[DeploymentShown]


class CaptureShown(Shape):
    """A capture, without what it has."""

    id: str
    experiment: str
    arms: list[str]
    margin_below: float | None
    redact: list[str]
    per_minute: int
    examples_max: int
    who: str
    why: str
    began_at: UnixS
    until: UnixS
    state: Literal["running", "ended"]
    ended_by: Literal["examples", "bytes", "time", "stopped"] | None
    ended_at: UnixS | None
    examples: int
    size_bytes: int


class CaptureList(Shape):
    """The captures of this gateway."""

    captures: list[CaptureShown]


class CapturedExample(Shape):
    """An answered request: inputs and outputs as TF Serving's REST API writes columns, less what was redacted."""

    number: int
    at: UnixS
    arm: str
    version: int
    decision: Annotated[str, Field(description="the token: a label goes back with it as a reward")]
    margin: Annotated[float | None, Field(description="of the best two scores, where it was looked at")]
    signature_name: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class CaptureExamples(Shape):
    """A page of a capture's examples; `next` is there if there are more."""

    capture: CaptureShown
    examples: list[CapturedExample]
    next: int | None = None
