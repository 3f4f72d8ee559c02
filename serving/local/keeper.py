"""Keeps what is loaded in step with the configuration and the disk: the poll, and reloads that wait for new models."""

import asyncio
import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from serving import wire
from serving.local import config as configs
from serving.local.models import Models, not_available

log: Final = logging.getLogger(__name__)

# TF Serving waits for ever for a new model that does not come; a client without a deadline is told after this long.
_NEW_MODELS_WAIT_S: Final = 60.0

# So much before the client's own deadline the answer goes out, or the client would only see DEADLINE_EXCEEDED.
_ANSWER_EARLY_S: Final = 0.1


class Keeper:
    """Polls in one thread of its own, so that loading never holds up a prediction or the event loop."""

    def __init__(self, models: Models, poll_wait_s: float) -> None:
        """`poll_wait_s`: seconds between two polls; 0 or less: one poll at the start and one after each reload."""
        self._models = models
        self._poll_wait_s = poll_wait_s
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._wake = asyncio.Event()
        self._polled = asyncio.Condition()

    async def start(self, config: wire.Message) -> None:
        """Load what the configuration asks for; ServingError when a model of it does not come up."""
        new = self._models.replace_config(configs.read_config(config))
        await self._poll()
        self._check_ready(new)

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            try:
                async with asyncio.timeout(self._poll_wait_s if self._poll_wait_s > 0 else None):
                    await self._wake.wait()
            except TimeoutError:
                pass  # Nobody asked for a poll: it is simply time for one.
            self._wake.clear()
            await self._poll()

    async def reload(self, config: wire.Message, time_left_s: float | None) -> None:
        """Replace the whole configuration; when it names models new to this server, return once they serve.

        Models left out are unloaded now. The versions of models served already change after the answer, at the next
        poll, as in TF Serving.
        """
        new = self._models.replace_config(configs.read_config(config))
        await asyncio.to_thread(self._models.unload_left_out)
        if new or self._poll_wait_s <= 0:
            self._wake.set()
        if new:
            wait_s = _NEW_MODELS_WAIT_S if time_left_s is None else time_left_s - _ANSWER_EARLY_S
            await self._wait_for(new, wait_s)
            self._check_ready(new)

    def close(self) -> None:
        """Wait for a load under way and end the thread."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    async def _wait_for(self, names: Collection[str], wait_s: float) -> None:
        """Wait until each model serves or has failed, at most so long."""
        try:
            async with asyncio.timeout(wait_s), self._polled:
                await self._polled.wait_for(lambda: all(self._models.unready(names).values()))
        except TimeoutError:
            pass  # `_check_ready` says which models are missing.

    def _check_ready(self, names: Collection[str]) -> None:
        if unready := self._models.unready(names):
            raise not_available({name: why or self._models.complaint(name) for name, why in unready.items()})

    async def _poll(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._loader, self._models.poll)
        except Exception:  # Bulkhead: one bad poll must not end the server; the next one starts afresh.
            log.exception("poll failed")
        async with self._polled:
            self._polled.notify_all()
