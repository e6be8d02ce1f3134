"""Call a model server and read its answer as it arrives.

Implements `wxgptd.ports.models.ChatModel`.

Retries only if that can help (the server is busy, down or unreachable, and the answer has not
begun), and only for as long as the caller allows: after the reply window, an error message serves
the user better. Time and size are bounded, whatever the server does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from wxgptd.domain.model.values import FailureReason
from wxgptd.domain.prompt.context import Message
from wxgptd.llm import wire
from wxgptd.llm.breaker import url_without_query
from wxgptd.llm.call import NO_CALLBACKS, AnswerCallbacks, Call
from wxgptd.llm.failure_detail import FailureDetail, printable
from wxgptd.llm.model_errors import Blame, ModelError, classify, unavailable
from wxgptd.llm.parameters import Parameters
from wxgptd.llm.probing import Endpoint
from wxgptd.llm.retry_after import retry_after
from wxgptd.llm.server import Server
from wxgptd.outbound.client import PostingClient
from wxgptd.outbound.reading import Excerpt, cause_of, reason_of, was_cancelled
from wxgptd.ports.models import Completion, ModelFailure, Prompt, ignore

log = Logger()

MAX_RETRIES = 2

THE_DAEMON = 0
"""The asker of a probe; users have other numbers."""

MAX_ERROR_BYTES = 64 * 1024
"""The maximum number of bytes read from an error response."""


def retry_delay(retries: int, jitter: float) -> float:
    """Return the seconds to wait before the next retry.

    :param retries: the retries made so far, from 0.
    :param jitter: from 0 to 1; adds at most half, so that each delay is longer than the one before.
    """
    return 0.4 * 2.0**retries * (1 + jitter / 2)


def key_headers(auth: str, api_key: str) -> dict[str, str]:
    """Return the header with the key: `auth` is `bearer` for most servers, `api-key` for Azure."""
    if not api_key:
        return {}
    return {"api-key": api_key} if auth == "api-key" else {"authorization": f"Bearer {api_key}"}


class Model:
    """The models that one assistant uses on one server: `wxgptd.ports.models.ChatModel`."""

    def __init__(
        self,
        server: Server,
        http: PostingClient,
        clock: IReactorTime,
        endpoint: Endpoint,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._http = http
        self._clock = clock
        self._endpoint = endpoint
        self._jitter = jitter
        self._parameters = Parameters(server.parameters)
        self._names = {server.model}
        self._failure: tuple[float, str] | None = None

    def ask(
        self,
        prompt: Prompt,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None] = ignore,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> Deferred[Completion | ModelFailure]:
        """Send `prompt` to the model; see `wxgptd.ports.models.ChatModel`."""
        callbacks = AnswerCallbacks(on_text, on_thought, on_withdrawn)
        return Deferred.fromCoroutine(self._ask(prompt, callbacks))

    def condition(self) -> str:
        """Return the state of the endpoint and its models in words; `ok` if all is well."""
        breakers = self._endpoint.breaker, *map(self._endpoint.model, sorted(self._names))
        return "; ".join(breaker.state for breaker in breakers if breaker.open) or "ok"

    def last_failure(self) -> str:
        """Return why the last call failed, if it did; see `wxgptd.ports.models.ChatModel`."""
        if self._failure is None:
            return ""
        at, why = self._failure
        return f"{why}, {self._clock.seconds() - at:.0f} s ago"

    def circuit_open(self) -> bool:
        """Return whether the circuit breaker is open; see `wxgptd.ports.models.ChatModel`."""
        breakers = self._endpoint.breaker, self._endpoint.model(self._server.model)
        return any(breaker.open for breaker in breakers)

    async def _ask(self, prompt: Prompt, callbacks: AnswerCallbacks) -> Completion | ModelFailure:
        name = prompt.model or self._server.model
        self._names.add(name)
        if not prompt.probe:
            await self._probe_if_due(name)
            for breaker in (self._endpoint.breaker, self._endpoint.model(name)):
                if breaker.open is not None:
                    detail = f"{breaker.name}: circuit breaker open"
                    return ModelFailure(reason=breaker.open, text="", detail=detail)
        result = self._redacted(await self._ask_with_retries(prompt, callbacks))
        self._failure = None if isinstance(result, Completion) else self._failure_record(result)
        if prompt.probe:
            self._judge(result, name)
        else:
            result = await self._record(result, name, prompt.asker)
        return _breakdown(result) if isinstance(result, ModelError) else result

    def _failure_record(self, result: ModelFailure | ModelError) -> tuple[float, str]:
        why = result.logged if isinstance(result, ModelFailure) else result.why.said
        return self._clock.seconds(), f"{result.reason}: {why}"

    # What the result of a call means for the breakers: see `breaker.py`.

    async def _probe_if_due(self, name: str) -> None:
        """Probe a server whose breaker has been open for long enough."""
        breakers = self._endpoint.breaker, self._endpoint.model(name)
        closed_or_due = all(breaker.due or not breaker.open for breaker in breakers)
        if closed_or_due and any(breaker.due for breaker in breakers):
            await self._endpoint.probed(name, partial(self._probe, name))

    async def _record(
        self, result: Completion | ModelFailure | ModelError, name: str, asker: int
    ) -> Completion | ModelFailure | ModelError:
        """Record the result of a user's call, and probe the server if the result is suspicious."""
        endpoint, model = self._endpoint.breaker, self._endpoint.model(name)
        if isinstance(result, Completion):
            endpoint.succeeded()
            model.succeeded()
            return result
        vouched = self._endpoint.passed_s_ago(name) is not None
        if isinstance(result, ModelFailure):
            endpoint.succeeded()
            model.failed(asker, FailureReason.UNAVAILABLE, result.logged, vouched=vouched)
        elif result.blame in (Blame.NONE, Blame.QUESTION):
            return result  # one user's rejected questions must not hide failures of others
        elif result.transient or result.slow:
            at_fault = endpoint if result.blame is Blame.ENDPOINT else model
            at_fault.failed(asker, result.reason, result.why.said, vouched=vouched)
        else:
            return await self._verify(result, name)
        if endpoint.suspected or model.suspected:
            self._endpoint.begin_probe(name, partial(self._probe, name))
        return result

    async def _verify(self, error: ModelError, name: str) -> ModelError:
        """Find out whether the server rejects every request or only this question."""
        await self._endpoint.probed(name, partial(self._probe, name))
        passed_s = self._endpoint.passed_s_ago(name)
        if passed_s is not None:
            said = f"{error.why.said}, but a probe succeeded {passed_s:.0f} s ago"
            why = error.why._replace(said=said)
            return replace(error, reason=FailureReason.UNAVAILABLE, why=why)
        return error

    async def _probe(self, name: str) -> None:
        """Request one token, and judge the server by the result."""
        prompt = Prompt(messages=(Message("user", "1"),), model=name, probe=True)
        self._judge(self._redacted(await self._ask_with_retries(prompt, NO_CALLBACKS)), name)

    def _judge(self, result: Completion | ModelFailure | ModelError, name: str) -> None:
        """Open or close the breakers according to the result of a probe."""
        endpoint, model = self._endpoint.breaker, self._endpoint.model(name)
        # If the result is not an error, at least part of an answer arrived.
        blame = result.blame if isinstance(result, ModelError) else Blame.QUESTION
        if blame is not Blame.ENDPOINT:
            endpoint.passed()
        if blame in (Blame.QUESTION, Blame.NONE):
            model.passed()
            self._endpoint.note_passed(name)
            return
        assert isinstance(result, ModelError)
        at_fault = endpoint if blame is Blame.ENDPOINT else model
        may_recover = result.transient or result.slow
        if may_recover and not at_fault.open and not at_fault.suspected:
            # If another probe may succeed, record a failure instead of opening the breaker.
            at_fault.failed(THE_DAEMON, result.reason, str(result.why))
        else:
            at_fault.trip(result.reason, str(result.why))

    async def _ask_with_retries(
        self, prompt: Prompt, callbacks: AnswerCallbacks
    ) -> Completion | ModelFailure | ModelError:
        """Call the model, and retry if that can help, as long as time remains."""
        began = self._clock.seconds()
        retries = 0
        while True:
            parameters = self._parameters.sent(1 if prompt.probe else prompt.max_tokens)
            result = await self._attempt(prompt, parameters, callbacks, began)
            if isinstance(result, Completion | ModelFailure):
                return result
            change = ""
            if result.complaint:
                change = self._parameters.give_way(result.complaint, parameters, prompt.words)
            if change:
                log.info(
                    "{assistant}: {change}",
                    id="model-adapted",
                    assistant=self._server.name,
                    change=change,
                )
                continue
            delay = max(result.retry_after_s, retry_delay(retries, self._jitter()))
            is_too_late = self._clock.seconds() + delay > began + prompt.retry_for_s
            if not result.transient or retries == MAX_RETRIES or is_too_late:
                return result
            retries += 1
            log.info(
                "{assistant}: retrying in {delay:.1f} s: {detail}",
                id="retrying",
                assistant=self._server.name,
                delay=delay,
                detail=self._redact(result.why.said),
                bounded_as=f"again {self._server.name}",
            )
            await deferLater(self._clock, delay)

    async def _attempt(
        self,
        prompt: Prompt,
        parameters: Mapping[str, object],
        callbacks: AnswerCallbacks,
        began: float,
    ) -> Completion | ModelFailure | ModelError:
        """Call the model once, and time out if the answer takes too long to begin or to finish."""
        call = Call(self._clock, began, callbacks, prompt, self._server)
        left_s = began + self._server.total_timeout_s - self._clock.seconds()
        running = Deferred.fromCoroutine(self._call(call, prompt, parameters))
        if prompt.first_token_within_s:
            begin_by = began + prompt.first_token_within_s
            call.expect_within(max(begin_by - self._clock.seconds(), 0.0), running)
        try:
            return await running.addTimeout(max(left_s, 0.0), self._clock, _timed_out)
        except TookTooLong:
            if call.slow:
                why = FailureDetail(f"no first token within {prompt.first_token_within_s:.1f} s")
                # A slow server is not broken, but this does not prove that it is healthy either.
                down = FailureReason.UNAVAILABLE
                return ModelError(down, why, blame=Blame.NONE)
            if call.answered:
                return call.conclude(None)  # complete; the server only kept the connection open
            seconds = self._server.total_timeout_s
            return call.give_up(
                FailureDetail(f"not finished within {seconds:g} s"), transient=False
            )
        finally:
            call.release()

    async def _call(
        self, call: Call, prompt: Prompt, parameters: Mapping[str, object]
    ) -> Completion | ModelFailure | ModelError:
        server = self._server
        body = wire.request_body(prompt.model or server.model, prompt.messages, parameters)
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream, application/json",
            "user-agent": "wxgptd",
            **server.headers,
        }
        try:
            response = await self._http.post(
                server.url, data=body, headers=headers, unbuffered=True, allow_redirects=False
            ).addTimeout(server.first_text_timeout_s, self._clock, _timed_out)
        except TookTooLong:
            if call.slow:
                raise
            seconds = server.first_text_timeout_s
            return _timeout_error(f"no response within {seconds:g} s")
        except Exception as error:  # noqa: BLE001 (name resolution, TLS, resets: treated alike)
            if was_cancelled(error):
                raise CancelledError from None
            down = FailureReason.UNAVAILABLE
            return ModelError(down, _why(error), transient=True, blame=Blame.ENDPOINT)
        if not 200 <= response.code < 300:
            return await self._model_error(response, prompt.words)
        return await call.read(response)

    async def _model_error(self, response: IResponse, words: str) -> ModelError:
        reader = Excerpt(self._clock, self._server.idle_timeout_s, MAX_ERROR_BYTES)
        response.deliverBody(reader)
        body = (await reader.finished).decode("utf-8", "replace")
        model_error = classify(response.code, body, retry_after(response), words)
        url = url_without_query(self._server.url)
        if response.code == 404:
            is_unknown_model = model_error.reason is FailureReason.MISCONFIGURED
            question = "is `model` right?" if is_unknown_model else "is /v1 missing from base_url?"
            said = f"{model_error.why.said} (requested {url}; {question})"
            return replace(model_error, why=model_error.why._replace(said=said))
        if 300 <= response.code < 400:
            location = response.headers.getRawHeaders(b"location", [b"?"])[0]
            target = printable(url_without_query(location.decode("latin-1")))
            said = f"HTTP {response.code}: redirect not followed"
            return replace(model_error, why=FailureDetail(said, f"Location: {target}"))
        return model_error

    def _redacted(
        self, result: Completion | ModelFailure | ModelError
    ) -> Completion | ModelFailure | ModelError:
        if isinstance(result, ModelError):
            why = FailureDetail(self._redact(result.why.said), self._redact(result.why.quoted))
            return replace(result, why=why)
        if isinstance(result, ModelFailure):
            detail, summary = self._redact(result.detail), self._redact(result.summary)
            return replace(result, detail=detail, summary=summary)
        return result

    def _redact(self, detail: str) -> str:
        for secret in self._server.secrets:
            detail = detail.replace(secret, "***")
            # A truncated detail may end with the first part of a secret.
            for size in range(min(len(secret) - 1, len(detail)), 5, -1):
                if detail.endswith(secret[:size]):
                    detail = detail[:-size] + "***"
                    break
        return detail


def _breakdown(error: ModelError) -> ModelFailure:
    return ModelFailure(
        reason=error.reason,
        text="",
        detail=str(error.why),
        summary=error.why.said,
        retry_after_s=error.retry_after_s,
        context_limit=error.context_limit,
    )


def _why(error: BaseException) -> FailureDetail:
    """Return why no response arrived; anything the server sent instead may quote the prompt."""
    cause = cause_of(error)
    local = OSError, neterror.ConnectError, neterror.ConnectionClosed, neterror.DNSLookupError
    if isinstance(cause, local):
        return FailureDetail(reason_of(error))
    return FailureDetail(type(cause).__name__, printable(str(cause)))


def _timeout_error(said: str) -> ModelError:
    """Return the error for a late response: a retry would take just as long."""
    return unavailable(FailureDetail(said), transient=False)


def _timed_out(_value: object, _timeout: float) -> Failure:
    """Report a timeout, however the client reports the cancellation."""
    return Failure(TookTooLong())
