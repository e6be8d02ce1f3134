"""Ask a model server, and read its answer as it comes. Implements `wxgptd.ports.ChatModel`.

Asks again only where that can help (a server that is busy, down or unreachable, before the
first word of an answer), and only as long as the caller says: past the reply window the user is
better served by a sentence. Time and size are bounded, whatever the server does.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from wxgptd.domain.values import FailureReason
from wxgptd.llm import refusals, wire
from wxgptd.llm.breaker import Breaker, shown_url
from wxgptd.llm.call import Call
from wxgptd.llm.parameters import Parameters
from wxgptd.outbound.client import HttpClient
from wxgptd.outbound.reading import Excerpt, reason_of, was_cancelled
from wxgptd.ports import Breakdown, Completion, Prompt, ignore

log = Logger()

MAX_RETRIES = 2

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error is worth reading."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how a model is asked.

    `name` is the assistant's, for the log. `headers` hold the key, `parameters` are the body's.
    What is in `secrets` never gets into a detail.
    """

    name: str
    url: str
    model: str
    first_text_timeout_s: float
    idle_timeout_s: float
    total_timeout_s: float
    parameters: Mapping[str, object]
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {shown_url(self.url)!r}, {self.model!r})"


def key_headers(auth: str, api_key: str) -> dict[str, str]:
    """Return the header that shows the key: `bearer` for most, `api-key` for Azure."""
    if not api_key:
        return {}
    return {"api-key": api_key} if auth == "api-key" else {"authorization": f"Bearer {api_key}"}


class Model:
    """The models of one server that one assistant has. Implements `wxgptd.ports.ChatModel`."""

    def __init__(
        self,
        server: Server,
        http: HttpClient,
        clock: IReactorTime,
        endpoint: Breaker,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._http = http
        self._clock = clock
        self._endpoint = endpoint
        self._jitter = jitter
        self._parameters = Parameters(server.parameters)
        self._breakers: dict[str, Breaker] = {}

    def ask(
        self,
        prompt: Prompt,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None] = ignore,
    ) -> Deferred[Completion | Breakdown]:
        """Have `prompt` answered; see `wxgptd.ports.ChatModel`."""
        return Deferred.fromCoroutine(self._ask(prompt, on_text, on_thought))

    def condition(self) -> str:
        """Return how the endpoint and its models do, in words; `ok` if all is well."""
        open_ones = [one for one in (self._endpoint, *self._breakers.values()) if not one.closed()]
        return "; ".join(one.state for one in open_ones) or "ok"

    def left_alone(self) -> bool:
        """Tell whether nobody would be asked just now; see `wxgptd.ports.ChatModel`."""
        default = self._breakers.get(self._server.model)
        return self._endpoint.open() or (default is not None and default.open())

    def _breaker(self, model: str) -> Breaker:
        found = self._breakers.get(model)
        if found is None:
            name = f"assistant {self._server.name} ({model} at {shown_url(self._server.url)})"
            found = self._breakers[model] = Breaker(name, self._clock)
        return found

    async def _ask(
        self, prompt: Prompt, on_text: Callable[[str], None], on_thought: Callable[[str], None]
    ) -> Completion | Breakdown:
        model = self._breaker(prompt.model or self._server.model)
        for breaker in () if prompt.probe else (self._endpoint, model):
            refused = breaker.admit()
            if refused is not None:
                return Breakdown(reason=refused, text="", detail=f"{breaker.name} is left alone")

        def write(piece: str) -> None:
            self._endpoint.answering()
            model.answering()
            on_text(piece)

        try:
            result = await self._insist(prompt, write, on_thought)
        except BaseException:  # cancelled, whatever by
            self._endpoint.abandon()
            model.abandon()
            raise
        if isinstance(result, refusals.Refusal):
            self._settle(result, model)
            return Breakdown(
                reason=result.reason,
                text="",
                detail=self._censor(result.detail),
                retry_after_s=result.retry_after_s,
                context_limit=result.context_limit,
            )
        self._endpoint.succeeded()
        if isinstance(result, Completion):
            model.succeeded()
            return result
        detail = self._censor(result.detail)
        model.failed(FailureReason.UNAVAILABLE, detail, at_once=False)
        return replace(result, detail=detail)

    def _settle(self, refused: refusals.Refusal, model: Breaker) -> None:
        """Tell the breakers what a failed call says, once its retries are over."""
        detail = self._censor(refused.detail)
        hopeless = not refused.transient and refused.blame is not refusals.Blame.QUESTION
        match refused.blame:
            case refusals.Blame.QUESTION:
                self._endpoint.succeeded()
                model.succeeded()
            case refusals.Blame.MODEL:
                self._endpoint.succeeded()
                model.failed(refused.reason, detail, at_once=hopeless and not refused.slow)
            case refusals.Blame.ENDPOINT:
                model.abandon()
                self._endpoint.failed(refused.reason, detail, at_once=hopeless)

    async def _insist(
        self, prompt: Prompt, on_text: Callable[[str], None], on_thought: Callable[[str], None]
    ) -> Completion | Breakdown | refusals.Refusal:
        """Ask, and ask again where that can help, as long as there is time."""
        began = self._clock.seconds()
        retries = 0
        while True:
            sent = self._parameters.sent(probe=prompt.probe)
            result = await self._attempt(prompt, sent, on_text, on_thought, began)
            if isinstance(result, Completion | Breakdown):
                return result
            change = self._parameters.give_way(result.complaint, sent) if result.complaint else ""
            if change:
                log.info("{assistant}: {change}", assistant=self._server.name, change=change)
                continue
            delay = max(result.retry_after_s, 0.4 * 2**retries * (1 + self._jitter()))
            late = self._clock.seconds() + delay > began + prompt.retry_for_s
            if not result.transient or retries == MAX_RETRIES or late:
                return result
            retries += 1
            log.info(
                "{assistant}: asking again in {delay:.1f} s: {detail}",
                assistant=self._server.name,
                delay=delay,
                detail=self._censor(result.detail),
            )
            await deferLater(self._clock, delay)

    async def _attempt(
        self,
        prompt: Prompt,
        sent: Mapping[str, object],
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None],
        began: float,
    ) -> Completion | Breakdown | refusals.Refusal:
        """Ask once; what takes too long, in all or to begin, is given up."""
        call = Call(
            self._clock,
            began,
            on_text,
            on_thought,
            model=prompt.model or self._server.model,
            probe=prompt.probe,
            first_timeout_s=self._server.first_text_timeout_s,
            idle_timeout_s=self._server.idle_timeout_s,
        )
        left = began + self._server.total_timeout_s - self._clock.seconds()
        running = Deferred.fromCoroutine(self._call(call, prompt, sent))
        if prompt.first_token_within_s:
            begin_by = began + prompt.first_token_within_s
            call.expect_within(max(begin_by - self._clock.seconds(), 0.0), running)
        try:
            return await running.addTimeout(max(left, 0.0), self._clock, _too_long)
        except TookTooLong:
            if call.slow:
                seconds = prompt.first_token_within_s
                detail = f"not begun within {seconds:.1f} s"
                return refusals.Refusal(FailureReason.UNAVAILABLE, detail)  # slow is not broken
            if call.answered:
                return call.conclude("")  # something that matters no more kept it open
            seconds = self._server.total_timeout_s
            return call.give_up(f"not finished within {seconds:g} s", transient=False)

    async def _call(
        self, call: Call, prompt: Prompt, sent: Mapping[str, object]
    ) -> Completion | Breakdown | refusals.Refusal:
        server = self._server
        body = wire.request_body(prompt.model or server.model, prompt.messages, sent)
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "user-agent": "wxgptd",
            **server.headers,
        }
        try:
            response = await self._http.post(
                server.url, data=body, headers=headers, unbuffered=True, allow_redirects=False
            ).addTimeout(server.first_text_timeout_s, self._clock, _too_long)
        except TookTooLong:
            if call.slow:
                raise
            seconds = server.first_text_timeout_s
            return _late(f"no response within {seconds:g} s")
        except Exception as error:  # noqa: BLE001 (name resolution, TLS, resets: all alike here)
            if was_cancelled(error):
                raise CancelledError from None
            down = FailureReason.UNAVAILABLE
            return refusals.Refusal(
                down, reason_of(error), transient=True, blame=refusals.Blame.ENDPOINT
            )
        if response.code != 200:
            return await self._refusal(response)
        return await call.read(response)

    async def _refusal(self, response: IResponse) -> refusals.Refusal:
        reader = Excerpt(self._clock, self._server.idle_timeout_s, MAX_ERROR_BYTES)
        response.deliverBody(reader)
        body = (await reader.finished).decode("utf-8", "replace")
        refusal = refusals.classify(response.code, body, _retry_after(response))
        asked = shown_url(self._server.url)
        if response.code == 404:
            detail = f"{refusal.detail} (asked {asked}: is /v1 missing from base_url?)"
            return replace(refusal, detail=detail)
        if 300 <= response.code < 400:
            location = response.headers.getRawHeaders(b"location", [b"?"])[0]
            where = refusals.printable(shown_url(location.decode("latin-1")))
            detail = f"HTTP {response.code}: redirected to {where}, which is never followed"
            return replace(refusal, detail=detail)
        return refusal

    def _censor(self, detail: str) -> str:
        for secret in self._server.secrets:
            detail = detail.replace(secret, "***")
            # A detail that is cut may end in the beginning of one.
            for size in range(min(len(secret) - 1, len(detail)), 5, -1):
                if detail.endswith(secret[:size]):
                    detail = detail[:-size] + "***"
                    break
        return detail


def _late(detail: str) -> refusals.Refusal:
    """Return that nothing came in time: asking once more would take as long again."""
    return refusals.unavailable(detail, transient=False)


def _too_long(_value: object, _timeout: float) -> Failure:
    """Whatever a client makes of being cancelled: its time was over."""
    return Failure(TookTooLong())


def _retry_after(response: IResponse) -> float:
    values = response.headers.getRawHeaders(b"retry-after", [])
    if not values:
        return 0.0
    value = values[0].decode("latin-1").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", value):
        return min(float(value), 86_400.0)
    try:
        then = parsedate_to_datetime(value)
        dates = response.headers.getRawHeaders(b"date", [values[0]])
        date = parsedate_to_datetime(dates[0].decode("latin-1"))
        return min(max((then - date).total_seconds(), 0.0), 86_400.0)
    except (ValueError, TypeError):
        return 0.0
