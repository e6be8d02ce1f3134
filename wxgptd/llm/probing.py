"""Endpoints, and the daemon's own probes of their models, which open and close the breakers.

A probe requests one token. Each model of an endpoint is probed at most once in 30 s, and all
waiters share the result.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as StillRunning
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from wxgptd.llm.breaker import Breaker, url_without_query
from wxgptd.untyped import Result

log = Logger()

PROBE_EVERY_S = 30.0

PATIENCE_S = 3.0
"""How long a question waits for a probe; any longer, and its answer would miss the window."""

Probe = Callable[[], Coroutine[Deferred[Result], Result, None]]
"""Asks a model for one token, and reports the result to the breakers."""


class Endpoint:
    """An address with a key: its breaker, those of its models, and their probes."""

    def __init__(self, url: str, clock: IReactorTime) -> None:
        self._url = url_without_query(url)
        self._clock = clock
        self.breaker = Breaker(self._url, clock)
        self._models: dict[str, Breaker] = {}
        self._probed_at: dict[str, float] = {}
        self._passed_at: dict[str, float] = {}
        self._waiters: dict[str, list[Deferred[None]]] = {}

    def model(self, name: str) -> Breaker:
        """Return the breaker of one model."""
        breaker = self._models.get(name)
        if breaker is None:
            breaker = self._models[name] = Breaker(f"{name} at {self._url}", self._clock)
        return breaker

    def note_passed(self, model: str) -> None:
        """Record that a probe of `model` succeeded."""
        self._passed_at[model] = self._clock.seconds()

    def passed_s_ago(self, model: str) -> float | None:
        """Return how long ago the last probe succeeded, or None.

        None means that it failed, is still running, or is too old to be evidence.
        """
        passed_at = self._passed_at.get(model, -inf)
        if model in self._waiters or passed_at < self._probed_at.get(model, -inf):
            return None
        ago_s = self._clock.seconds() - passed_at
        return ago_s if ago_s <= PROBE_EVERY_S else None

    async def probed(self, model: str, probe: Probe) -> None:
        """Probe `model`, unless it was probed recently, and wait briefly for the result."""
        self.begin_probe(model, probe)
        if model not in self._waiters:
            return
        waiter: Deferred[None] = Deferred(lambda d: self._drop_waiter(model, d))
        self._waiters[model].append(waiter)
        with suppress(StillRunning):
            await waiter.addTimeout(PATIENCE_S, self._clock)

    def begin_probe(self, model: str, probe: Probe) -> None:
        """Start a probe of `model`, unless one is running or was started recently."""
        now = self._clock.seconds()
        is_recent = now < self._probed_at.get(model, -inf) + PROBE_EVERY_S
        if model in self._waiters or is_recent:
            return
        self._probed_at[model] = now
        self._waiters[model] = []
        running = Deferred.fromCoroutine(probe())
        running.addErrback(self._probe_failed, model)
        running.addBoth(self._probe_ended, model)

    def _drop_waiter(self, model: str, waiter: Deferred[None]) -> None:
        waiters = self._waiters.get(model, [])
        if waiter in waiters:
            waiters.remove(waiter)
        waiter.errback(CancelledError())

    def _probe_failed(self, failure: Failure, model: str) -> None:
        log.failure("probing {model} failed unexpectedly", failure, id="unexpected", model=model)

    def _probe_ended(self, _: object, model: str) -> None:
        for waiter in self._waiters.pop(model):
            waiter.callback(None)


class Endpoints:
    """All endpoints. Assistants with the same address and key share an endpoint."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    def of(self, url: str, api_key: str) -> Endpoint:
        """Return the endpoint with this address and key, creating it if necessary."""
        endpoint = self._endpoints.get((url, api_key))
        if endpoint is None:
            endpoint = self._endpoints[url, api_key] = Endpoint(url, self._clock)
        return endpoint
