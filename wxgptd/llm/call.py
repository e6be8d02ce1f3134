"""One call to a model: read its response as it arrives, and classify the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from wxgptd.domain.model.values import FailureReason, Finish
from wxgptd.llm import wire
from wxgptd.llm.body import StreamReader
from wxgptd.llm.cleaning import Cleaner, Joiner
from wxgptd.llm.failure_detail import FailureDetail, code
from wxgptd.llm.model_errors import ModelError, unavailable
from wxgptd.llm.server import Server
from wxgptd.ports.models import Completion, ModelFailure, Prompt, ignore
from wxgptd.untyped import Result

MAX_ANSWER_CHARS = 200_000

LEAST_TOTAL_CHARS = 8
"""A shorter piece may be a genuine repetition; after several pieces, half of this is enough."""

LEAST_ECHO_CHARS = 20
"""A longer piece that equals all the text before it is a total, wherever it occurs."""

_NON_TEXT_REASONS = {
    wire.TOOLS: FailureReason.ONLY_TOOLS,
    wire.IMAGES: FailureReason.ONLY_MEDIA,
    wire.AUDIO: FailureReason.ONLY_MEDIA,
}


class AnswerCallbacks(NamedTuple):
    """Callbacks for text, for thoughts, and for text that turned out to be thoughts."""

    text: Callable[[str], None]
    thought: Callable[[str], None]
    withdrawn: Callable[[], None]


NO_CALLBACKS = AnswerCallbacks(ignore, ignore, lambda: None)


class Call:
    """One call to one of `server`'s models.

    `began` is when the question was first sent to this model, in seconds by `clock`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        began: float,
        takers: AnswerCallbacks,
        prompt: Prompt,
        server: Server,
    ) -> None:
        self._clock = clock
        self._server = server
        self._began = began
        self._on_text, self._on_thought, self._on_withdrawn = takers
        self._cleaner = Cleaner(takers.thought, self._withdraw)
        self._thought_joiner = Joiner()
        self._pieces: list[str] = []
        self._received: list[str] = []
        """The text as the server sent it, including any thoughts in it."""
        self._chars = 0
        self._first_text_s = 0.0
        self._finish = ""
        self._finish_is_trusted = True
        self._continued = False
        """Whether anything followed a finish reason, which is then meaningless."""
        self._thoughts = False
        self._elsewhere = ""
        self._done = False
        self._usage_is_last = False
        self._usages = 0
        self._unintelligible: FailureDetail | None = None
        self._damaged: FailureDetail | None = None
        self._withdrawn = False
        self._model = prompt.model or server.model
        self._asked = prompt.words
        self._probe = prompt.probe
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._chunks = 0
        self._model_error: ModelError | None = None
        self._first_token_timer: IDelayedCall | None = None
        self._silent = False
        self.slow = False

    @property
    def answered(self) -> bool:
        """Whether the server has sent a finish reason that can be trusted."""
        return bool(self._finish) and self._finish_is_trusted

    def expect_within(self, seconds: float, running: Deferred[Result]) -> None:
        """Cancel `running` unless the first text or thought arrives within `seconds`."""

        def time_out() -> None:
            self.slow = True
            running.cancel()

        def finish(result: Result) -> Result:
            self._cancel_timer()
            # However the client reports the cancellation, this was a timeout.
            return Failure(TookTooLong()) if self.slow else result

        self._first_token_timer = self._clock.callLater(seconds, time_out)
        running.addBoth(finish)

    def _cancel_timer(self) -> None:
        timer, self._first_token_timer = self._first_token_timer, None
        if timer is not None and timer.active():
            timer.cancel()

    async def read(self, response: IResponse) -> Completion | ModelFailure | ModelError:
        """Read the whole response and return its result."""
        body = StreamReader(
            self._clock,
            first_timeout_s=self._server.first_text_timeout_s,
            idle_timeout_s=self._server.idle_timeout_s,
            take=self._take,
            answered=lambda: self.answered,
        )
        response.deliverBody(body)
        ending = await body.finished
        self._silent = body.received == 0
        # A server that falls silent after a finish reason has finished.
        return self.conclude(None if body.fell_silent and self._finish else ending)

    def give_up(self, why: FailureDetail, *, transient: bool) -> ModelFailure | ModelError:
        """Return the partial answer, or an error if there is no text yet."""
        text = "".join(self._pieces)
        if text:
            return _interrupted(text, why)
        return unavailable(why, transient=transient)

    def _take(self, data: str) -> bool:
        """Process the data of one event; return True once nothing more is needed."""
        event = data.strip()
        if event == wire.DONE:
            self._done = True
            return True
        if not event:
            return False
        try:
            chunk = wire.parse_chunk(event, self._asked)
        except wire.InvalidChunk as error:
            # A heartbeat, or something added by a proxy: the other events may still be fine.
            self._unintelligible = self._unintelligible or error.why
            self._damaged = error.why if error.is_damaged else None
            return error.is_damaged
        if isinstance(chunk, ModelError):
            self._model_error = chunk
            return True
        self._chunks += 1
        self._read(chunk)
        if self._chars > MAX_ANSWER_CHARS:
            self._finish = "length"
            return True
        return False

    def _read(self, chunk: wire.Chunk) -> None:
        text, thoughts = chunk.text, chunk.thoughts
        if text and self._repeats(chunk):
            text = ""
        if chunk.is_total and self._thoughts:
            thoughts = ""  # they were all sent already
        if thoughts or text:
            self._cancel_timer()
        self._judge_finish(chunk, continues=bool(text or thoughts))
        if thoughts:
            self._thoughts = True
            self._think(thoughts)
        self._elsewhere = chunk.elsewhere or self._elsewhere
        self._done = self._done or chunk.is_whole
        self._usages += chunk.has_usage
        if text or chunk.has_usage:
            # Usage sent with every piece does not mark the end.
            is_first_usage = chunk.has_usage and self._usages == 1
            self._usage_is_last = is_first_usage and bool(self._received or not text)
        self._model = chunk.model or self._model
        self._prompt_tokens = chunk.prompt_tokens or self._prompt_tokens
        self._completion_tokens = chunk.completion_tokens or self._completion_tokens
        if text:
            self._received.append(text)
            self._write(self._cleaner.feed(text))

    def _repeats(self, chunk: wire.Chunk) -> bool:
        """Return whether `chunk` is a total that only repeats the text so far."""
        if not self._received or chunk.is_total:
            return bool(self._received)
        is_last = (
            bool(chunk.finish)
            or chunk.has_usage
            or (len(chunk.text) >= LEAST_ECHO_CHARS and len(self._received) > 1)
        )
        least = LEAST_TOTAL_CHARS if len(self._received) == 1 else LEAST_TOTAL_CHARS // 2
        if not is_last or len(chunk.text) < least:
            return False
        return chunk.text == "".join(self._received)

    def _judge_finish(self, chunk: wire.Chunk, *, continues: bool) -> None:
        """Record a finish reason, and whether it can be trusted."""
        if self._finish and continues:
            self._continued, self._finish_is_trusted = True, False
        if not chunk.finish:
            return
        self._finish = chunk.finish
        self._finish_is_trusted = not (
            self._continued
            or continues
            or not (self._pieces or self._cleaner.holds_text)
            or wire.of_tools(chunk.finish)
        )

    def _withdraw(self) -> None:
        """Withdraw the text so far, which turned out to be thoughts."""
        self._pieces.clear()
        self._chars = 0
        self._withdrawn = True
        self._on_withdrawn()

    def _think(self, piece: str) -> None:
        """Pass on a piece of reasoning, joining characters that were split between pieces."""
        piece = self._thought_joiner.feed(piece)
        if piece:
            self._on_thought(piece)

    def _write(self, text: str) -> None:
        if not text:
            return
        if not self._pieces:
            self._first_text_s = self._clock.seconds() - self._began
        self._pieces.append(text)
        self._chars += len(text)
        self._on_text(text)

    def release(self) -> None:
        """Drop the callbacks; see `Cleaner.release`."""
        self._cleaner.release()
        self._on_text = self._on_thought = lambda _: None
        self._on_withdrawn = lambda: None

    def conclude(self, ending: FailureDetail | None) -> Completion | ModelFailure | ModelError:
        """Return the result of the call; `ending` is why the stream ended early, if it did."""
        self._write(self._cleaner.close())
        text = "".join(self._pieces)
        if self._model_error is not None:
            if text and self._model_error.reason is not FailureReason.CONTENT_FILTER:
                return _interrupted(text, self._model_error.why)
            return self._model_error
        if self._damaged is not None:
            return self.give_up(self._damaged, transient=True)
        if wire.moderated(self._finish):
            return ModelError(FailureReason.CONTENT_FILTER, self._finish_why())
        if wire.broken(self._finish):
            return self.give_up(self._finish_why(), transient=True)
        if not self._finish and text.strip() and (self._done or self._usage_is_last):
            self._finish = "stop"  # complete except for the finish reason
        if ending is not None and not self._finish_is_trusted and not self._done:
            return self.give_up(ending, transient=True)
        if not self._finish and not self._done:
            if self._unintelligible is not None and not self._chunks:
                return self.give_up(self._unintelligible, transient=True)
            if self._silent and not ending:
                # This is how some servers report a prompt that exceeds their context window.
                return ModelError(FailureReason.TOO_LONG, FailureDetail("the stream was empty"))
            return self.give_up(
                ending or FailureDetail("the stream ended without a finish reason"), transient=True
            )
        if not text.strip() and self._finish == "model_context_window_exceeded":
            return ModelError(FailureReason.TOO_LONG, self._finish_why())
        if not text.strip() and not self._probe:
            return self._no_text()
        return Completion(
            text=text,
            finish=Finish.LENGTH if wire.cut_short(self._finish) else Finish.STOP,
            model=self._model,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            first_text_s=round(self._first_text_s, 3),
            took_s=round(self._clock.seconds() - self._began, 3),
            withdrawn=self._withdrawn,
        )

    def _no_text(self) -> ModelError:
        """Return why a complete answer has no text; a retry would not help."""
        if self._elsewhere:
            reason = _NON_TEXT_REASONS[self._elsewhere]
            return ModelError(reason, FailureDetail(f"the answer contains only {self._elsewhere}"))
        if self._thoughts or self._cleaner.thought:
            full = wire.cut_short(self._finish)
            spent = ": thinking used up max_tokens" if full else ""
            why = FailureDetail(f"the answer contains only thoughts{spent}")
            return ModelError(FailureReason.ONLY_THOUGHTS, why)
        return ModelError(FailureReason.EMPTY, FailureDetail("the answer is empty"))

    def _finish_why(self) -> FailureDetail:
        return FailureDetail(f"finish_reason {code(self._finish)}")


def _interrupted(text: str, why: FailureDetail) -> ModelFailure:
    return ModelFailure(
        reason=FailureReason.INTERRUPTED, text=text, detail=str(why), summary=why.said
    )
