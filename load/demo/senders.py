"""The two ways to ask for a prediction: the same image, the same public name, two protocols.

REST is here; gRPC, with the official stubs that load all of TensorFlow, is in `stubs.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from load.demo.plan import DIGITS, MODEL

# Far above any answer on loopback (milliseconds): a call that takes this long is a failure worth counting.
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, the arm that made it, and the token with which its reward comes back."""

    digit: int
    arm: str
    decision: str


class Failed(Exception):
    """A request that was not answered as it should have been.

    `is_away`: nobody was there to answer. `is_sent`: it may have reached somebody, so that it must not be sent again.
    """

    def __init__(self, message: str, *, is_away: bool = False, is_sent: bool = True) -> None:
        super().__init__(message)
        self.is_away = is_away
        self.is_sent = is_sent


class Sender(Protocol):
    """One protocol to the gateway; bodies are made beforehand, so that traffic costs the client little."""

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        ...


def answer_of(probabilities: Sequence[float], headers: Mapping[str, str]) -> Answer:
    """Read an answer; raises Failed when it is not one of ten probabilities, or says not who decided."""
    if len(probabilities) != DIGITS:
        raise Failed(f"an answer of {len(probabilities)} values, not {DIGITS}")
    decision, arm = headers.get("turpin-decision"), headers.get("turpin-arm")
    if not decision or not arm:
        raise Failed("an answer without turpin-decision and turpin-arm")
    return Answer(int(np.argmax(probabilities)), arm, decision)


class _RestAnswer(msgspec.Struct):
    predictions: list[list[float]]


class RestSender:
    """TF Serving's REST API: `POST /v1/models/digits:predict`."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, pixels: NDArray[np.float32]) -> None:
        """`pixels`: [images, 64]."""
        self._session = session
        self._url = f"{base_url}/v1/models/{MODEL}:predict"
        self._bodies = [msgspec.json.encode({"instances": [image]}) for image in pixels.tolist()]
        self._decoder = msgspec.json.Decoder(_RestAnswer)

    async def predict(self, image: int) -> Answer:
        """Ask for image number `image`; raises Failed."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with self._session.post(self._url, data=self._bodies[image], timeout=timeout) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Failed(f"REST: {type(error).__name__}: {error}", is_away=True, is_sent=False) from error
        except aiohttp.ClientConnectionError as error:
            raise Failed(f"REST: {type(error).__name__}: {error}", is_away=True) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"REST: {type(error).__name__}: {error}") from error
        if response.status != 200:
            raise Failed(f"REST {response.status}: {body[:300].decode(errors='replace')}")
        try:
            (row,) = self._decoder.decode(body).predictions
        except (msgspec.DecodeError, ValueError) as error:
            raise Failed(f"REST: an answer that is no prediction for one image: {error}") from error
        return answer_of(row, response.headers)
