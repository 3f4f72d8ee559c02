"""The client for applications and notebooks: deploy a version, watch it, roll back, and send rewards.

Every call ends within its time, and what goes wrong has a name (`turpin.errors`). A call that changes something is
repeated only where the gateway would do it once all the same: reads, rewards, uploads by digest, and posts that carry
an Idempotency-Key.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from turpin.deployment import STEPS, Deployment, OnProgress, Progress, counted, version_of
from turpin.errors import DeploymentFailed, NotTurpin, Unreachable
from turpin.package import Package
from turpin.packing import pack
from turpin.state import Decision, Experiments, Recorded, State
from turpin.token import find_token
from turpin.transport import Answer, Call, Url, idempotency_key, send

DEFAULT_URL: Final = "http://127.0.0.1:8502"
TIMEOUT_S: Final = 10.0
# A model of gigabytes is uploaded, loaded on each replica, and warmed.
DEPLOY_S: Final = 900.0
_POLL_S: Final = 0.25
_EXPERIMENTS: Final = "/admin/v1/experiments"


class Client:
    """A gateway, seen from outside. It holds no connection; threads may share it.

    `url` is the admin port's, `TURPIN_ADMIN` by default. `token` is `TURPIN_TOKEN` by default, and for a gateway on this
    machine the one it made itself, if this user may read that. `data_url` is the HTTP port for decisions and rewards: by
    default the same host, one port below, as 8501 is to 8502.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        data_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """ValueError for a URL that is none. Nothing is sent yet."""
        self._admin = Url.read(url or os.environ.get("TURPIN_ADMIN", DEFAULT_URL))
        self._data = Url.read(data_url) if data_url else self._admin.at_port(self._admin.port - 1)
        self._token = token
        self._timeout_s = timeout_s

    def experiments(self) -> Experiments:
        """Return all experiments, in brief."""
        found = self._get(_EXPERIMENTS).get("experiments")
        if not isinstance(found, list):
            raise NotTurpin(f"{self._admin} is not the admin port of Turpin")
        return Experiments(tuple(one for one in found if isinstance(one, dict)))

    def experiment(self, name: str) -> Mapping[str, Any]:
        """Return an experiment as it is specified, with its revision."""
        return self._get(f"{_EXPERIMENTS}/{_part(name)}")

    def state(self, name: str) -> State:
        """Return the numbers behind an experiment's decisions; in a notebook it is a picture."""
        return State(self._get(f"{_EXPERIMENTS}/{_part(name)}/state"))

    def history(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return what happened to an experiment, the oldest first, with causes and numbers."""
        found: list[Mapping[str, Any]] = []
        cursor = ""
        while True:
            page = self._get(f"{_EXPERIMENTS}/{_part(name)}/history" + (f"?cursor={_part(cursor)}" if cursor else ""))
            notes, following = page.get("history"), page.get("next")
            found = [*(one for one in notes if isinstance(one, dict)), *found] if isinstance(notes, list) else found
            if not isinstance(following, str) or following == cursor:
                return found
            cursor = following

    def decide(
        self, model: str, *, unit: str | None = None, segment: str | None = None, request_id: str | None = None
    ) -> Decision:
        """Have an arm chosen without a prediction, for callers that route themselves.

        A call with a `request_id` may be repeated: it gives the same decision again.
        """
        named = {"turpin-unit": unit, "turpin-segment": segment, "turpin-request-id": request_id}
        headers = {name: value for name, value in named.items() if value is not None}
        call = Call("POST", "/v1/decide", {"model": model}, headers, is_repeatable=request_id is not None)
        document = self._ask(self._data, call)
        return Decision(str(document.get("decision", "")), str(document.get("arm", "")), document)

    def reward(self, decision: str | Decision, reward: float | Sequence[float], *, event: str = "default") -> Recorded:
        """Say how good a decision was: one number, or one for each row of the request.

        It is on disk when this returns, and counts once however often it is sent.
        """
        token = decision.token if isinstance(decision, Decision) else decision
        value = {"reward": reward} if isinstance(reward, int | float) else {"rewards": list(reward)}
        call = Call("POST", "/v1/rewards", {"decision": token, "event": event, **value}, is_repeatable=True)
        document = self._ask(self._data, call)
        return Recorded(
            bool(document.get("duplicate")), bool(document.get("learned")), str(document.get("durability", ""))
        )

    def rewards(self, claims: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Say how good many decisions were, in one call; return what became of each, in order.

        A claim is `{"decision": token, "reward": 1.0}`, as `POST /v1/rewards` takes it. An answer's `status` is 202 or,
        for one that was there before, 200; anything else is a problem with a `detail`, and 429 and 503 may be sent again.
        """
        lines = tuple(_line(claim) for claim in claims)
        if not lines:
            return []
        answers = self._answer(self._data, Call("POST", "/v1/rewards:batch", lines=lines, is_repeatable=True)).document
        if not isinstance(answers, list) or len(answers) != len(lines):
            raise NotTurpin(f"{self._data} does not answer each of {len(lines)} rewards")
        return [one if isinstance(one, dict) else {} for one in answers]

    def deploy(
        self,
        model: str,
        path: str | os.PathLike[str],
        *,
        as_: str,
        version: int | None = None,
        experiment: str | None = None,
        backend: str | None = None,
        package: Package | None = None,
        shadow: Mapping[str, Any] | None = None,
        progress: OnProgress | None = None,
        timeout_s: float = DEPLOY_S,
    ) -> Deployment:
        """Make a SavedModel's folder a new arm, named `as_`, and return when it is one.

        With `shadow`, such as `{"requests": 200, "min_agreement": 0.9}`, it is first sent copies of live requests, and
        only joins if its answers agree so far with those that clients got; what was found is in `.comparison`.

        Its version is the number at the end of that name, or `version`. The experiment is the model's, the backend that
        which publishes the model; where there are several they must be named. Raises DeploymentFailed with the step and
        the model server's own words; Conflict for a number that exists; ModelRefused for a folder that is no SavedModel.
        Interrupted, it goes on at the gateway: the same call takes it up again.
        """
        archive = pack(Path(path), package)
        number = version_of(as_) if version is None else version
        tell = progress or _nobody
        wanted = None if shadow is None else json.dumps(dict(shadow))
        asked = {"arm": as_, "experiment": experiment, "backend": backend, "shadow": wanted}
        steps = len(STEPS) + (shadow is not None)
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        place = f"/admin/v1/models/{_part(model)}/versions/{number}"
        upload = Call(
            "PUT",
            f"{place}?{query}",
            headers={"Turpin-Digest": archive.sealed.digest},
            upload=(archive.size_bytes, lambda: counted(archive.chunks(), archive.size_bytes, tell, steps=steps)),
            is_repeatable=True,
        )
        deadline = time.monotonic() + timeout_s
        return self._follow(Deployment(self._ask(self._admin, upload, timeout_s)), place, deadline, tell)

    def deployment(self, model: str, version: int) -> Deployment:
        """Return where the deployment of a version stands."""
        return Deployment(self._get(f"/admin/v1/models/{_part(model)}/versions/{version}"))

    def rollback(self, experiment: str, *, to: int | None = None, reason: str = "") -> Mapping[str, Any]:
        """Return to an earlier revision of an experiment, or, without one, to control; return the gateway's answer.

        What is to serve is loaded and warmed first, where need be; then traffic moves; then the rest is unloaded.
        """
        body: dict[str, Any] = {"reason": reason} if reason else {}
        if to is not None:
            body["revision"] = to
        return self._post(f"{_EXPERIMENTS}/{_part(experiment)}:rollback", body)

    def _follow(self, deployment: Deployment, place: str, deadline: float, tell: OnProgress) -> Deployment:
        while not (deployment.is_done or deployment.error):
            tell(deployment.progress())
            if time.monotonic() + _POLL_S > deadline:
                raise Unreachable(f"{place} is still at the step {deployment.step}; it goes on at the gateway")
            time.sleep(_POLL_S)
            deployment = Deployment(self._get(place))
        if deployment.error:
            raise DeploymentFailed(f"{deployment.step} failed: {deployment.error}")
        tell(deployment.progress())
        return deployment

    def _get(self, path: str) -> dict[str, Any]:
        return self._ask(self._admin, Call("GET", path, is_repeatable=True))

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key()}
        return self._ask(self._admin, Call("POST", path, dict(body), headers, is_repeatable=True))

    def _ask(self, url: Url, call: Call, timeout_s: float | None = None) -> dict[str, Any]:
        answer = self._answer(url, call, timeout_s)
        if not isinstance(answer.document, dict):
            raise NotTurpin(f"{url}{call.path} is not an API of Turpin")
        return answer.document

    def _answer(self, url: Url, call: Call, timeout_s: float | None = None) -> Answer:
        if self._token is None:
            self._token = find_token(self._admin, os.environ.get("TURPIN_TOKEN", ""))
        return send(url, call, token=self._token, timeout_s=timeout_s or self._timeout_s)


def _part(text: str) -> str:
    """Return the text as one part of a path."""
    return quote(text, safe="")


def _line(claim: Mapping[str, Any]) -> bytes:
    """Return a reward as JSON, as short as may be: a gateway takes so many bytes in a call."""
    try:
        return json.dumps(dict(claim), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half of a pair of surrogates: no UTF-8, but JSON has an escape for it.
        return json.dumps(dict(claim), allow_nan=False, separators=(",", ":")).encode()


def _nobody(progress: Progress) -> None:
    """Tell nobody."""
