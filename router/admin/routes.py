"""The routes of the admin port in one table: method, path, the least role that may call it, and what it is for."""

import enum
import re
from dataclasses import dataclass
from typing import Final


class Role(enum.IntEnum):
    """What a caller may do; each role may do what those before it may."""

    ANYBODY = 0  # no token is asked for, and none is looked at
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `path` holds its variables in braces; `name` says which handler answers."""

    method: str
    path: str
    role: Role
    name: str
    about: str
    media: str = "application/json"  # what it reads; a PATCH reads merge patches too

    @property
    def is_writing(self) -> bool:
        """Whether the route changes anything."""
        return self.method != "GET"

    @property
    def is_open(self) -> bool:
        """Whether it needs no token on loopback where none is configured."""
        return not self.is_writing and self.role <= Role.VIEWER


_E: Final = "/admin/v1/experiments"
_C: Final = "/admin/v1/captures"
_V: Final = "/admin/v1/models/{model}/versions/{version}"

_READING: Final = (
    Route("GET", "/healthz", Role.ANYBODY, "healthz", "whether the process lives"),
    Route("GET", "/readyz", Role.ANYBODY, "readyz", "whether requests are served"),
    Route("GET", "/metrics", Role.VIEWER, "metrics", "metrics of all processes of this gateway"),
    Route("GET", "/openapi.json", Role.ANYBODY, "openapi", "this API in OpenAPI 3.1"),
    Route("GET", "/admin/v1/version", Role.ANYBODY, "version", "which version of Turpin answers"),
    Route("GET", "/admin/v1/whoami", Role.VIEWER, "whoami", "who calls, and what that token may do"),
    Route("GET", "/admin/v1/audit", Role.VIEWER, "audit", "who changed what, why, and how it was before"),
    Route("GET", "/admin/v1/events", Role.VIEWER, "events", "what happens, as it happens"),
    Route("GET", "/admin/v1/backends", Role.VIEWER, "backends", "what every model server has loaded, and is to have"),
    Route("GET", "/admin/v1/deployments", Role.VIEWER, "list_deployments", "all deployments, and how far they are"),
    Route("GET", _V, Role.VIEWER, "show_version", "how far the deployment of a version is"),
    Route("GET", _E, Role.VIEWER, "list_experiments", "all experiments in brief"),
    Route("GET", f"{_E}/{{name}}", Role.VIEWER, "show_experiment", "one experiment as specified"),
    Route("GET", f"{_E}/{{name}}/state", Role.VIEWER, "state", "the numbers behind its decisions"),
    Route("GET", f"{_E}/{{name}}/history", Role.VIEWER, "history", "what happened to it, with causes and numbers"),
    Route("GET", f"{_E}/{{name}}/report", Role.VIEWER, "report", "what happened, what it earned, and why it stopped"),
    Route("GET", "/admin/v1/costs", Role.VIEWER, "costs", "what each loaded version has cost, busy and idle"),
    Route("GET", "/admin/v1/prices", Role.VIEWER, "prices", "what each backend costs an hour, and what feeds say"),
    Route("GET", f"{_E}/{{name}}/arms", Role.VIEWER, "list_arms", "the arms, their states and why"),
    Route("GET", f"{_E}/{{name}}/orders", Role.VIEWER, "list_orders", "which orders it would obey now, and why not"),
    Route("GET", _C, Role.VIEWER, "list_captures", "captures of requests at this gateway, without what they have"),
    Route("GET", f"{_C}/{{capture}}", Role.OPERATOR, "show_capture", "a capture's examples: requests with answers"),
)

_A: Final = f"{_E}/{{name}}/arms"

_WRITING: Final = (
    Route("POST", _E, Role.OPERATOR, "create_experiment", "create a draft"),
    Route("PUT", f"{_E}/{{name}}", Role.OPERATOR, "replace_experiment", "replace the specification"),
    Route("PATCH", f"{_E}/{{name}}", Role.OPERATOR, "patch_experiment", "change parts of the specification"),
    Route("DELETE", f"{_E}/{{name}}", Role.ADMIN, "delete_experiment", "delete a draft or an archived experiment"),
    Route("POST", f"{_E}/{{name}}:start", Role.OPERATOR, "start", "warm the arms, then learn"),
    Route("POST", f"{_E}/{{name}}:pause", Role.OPERATOR, "pause", "control serves, nothing is learned or retired"),
    Route("POST", f"{_E}/{{name}}:resume", Role.OPERATOR, "resume", "go on after a pause or a bypass"),
    Route("POST", f"{_E}/{{name}}:stop", Role.OPERATOR, "stop", "end it undecided, with the weights as they are"),
    Route("POST", f"{_E}/{{name}}:promote", Role.OPERATOR, "promote", "declare the winner"),
    Route("POST", f"{_E}/{{name}}:rollback", Role.OPERATOR, "rollback", "back to control, or to an earlier revision"),
    Route("POST", f"{_E}/{{name}}:bypass", Role.OPERATOR, "bypass", "all to control at once, even without a store"),
    Route("POST", f"{_E}/{{name}}:archive", Role.OPERATOR, "archive", "put a concluded experiment away"),
    Route("POST", f"{_A}/{{arm}}:drain", Role.OPERATOR, "drain_arm", "no more traffic for this arm, keep it loaded"),
    Route("POST", f"{_A}/{{arm}}:restore", Role.OPERATOR, "restore_arm", "take this arm back"),
    Route("POST", f"{_A}/{{arm}}:retire", Role.OPERATOR, "retire_arm", "drain this arm and unload it"),
    Route("PUT", _V, Role.ADMIN, "put_version", "upload a SavedModel, and deploy it as an arm", "application/x-tar"),
    Route(
        "POST", "/admin/v1/prices/{backend}:accept", Role.OPERATOR, "accept_price", "put a price that waits into force"
    ),
    Route("POST", _C, Role.OPERATOR, "begin_capture", "keep examples of an experiment's requests at this gateway"),
    Route("POST", f"{_C}/{{capture}}:stop", Role.OPERATOR, "stop_capture", "keep no more examples"),
    Route("DELETE", f"{_C}/{{capture}}", Role.OPERATOR, "delete_capture", "forget a capture with all it has"),
)

ROUTES: Final = (*_READING, *_WRITING)

_VARIABLE = re.compile(r"\{(\w+)\}")


def pattern(path: str) -> str:
    """Return the path as aiohttp matches it: a variable ends at a slash, and at the colon before a verb."""
    return _VARIABLE.sub(r"{\1:[^{}/:]+}", path)
