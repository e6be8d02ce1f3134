"""One call of a model: its response is read as it comes, and means something in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from wxgptd.domain.values import FailureReason, Finish
from wxgptd.llm import wire
from wxgptd.llm.body import StreamReader
from wxgptd.llm.cleaning import Cleaner
from wxgptd.llm.refusals import Refusal, unavailable
from wxgptd.llm.why import Why, code
from wxgptd.ports import Breakdown, Completion

MAX_ANSWER_CHARS = 200_000


class Call:
    """One call; `began` is when the question was first put to this model."""

    def __init__(
        self,
        clock: IReactorTime,
        began: float,
        on_text: Callable[[str], None],
        on_thought: Callable[[str], None],
        *,
        model: str,
        asked: str,
        probe: bool,
        first_timeout_s: float,
        idle_timeout_s: float,
    ) -> None:
        self._clock = clock
        self._first_timeout_s = first_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._began = began
        self._on_text = on_text
        self._on_thought = on_thought
        self._cleaner = Cleaner(on_thought)
        self._thinker = Cleaner()
        self._pieces: list[str] = []
        self._chars = 0
        self._first_text_s = 0.0
        self._finish = ""
        self._model = model
        self._asked = asked
        self._probe = probe
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._chunks = 0
        self._refusal: Refusal | None = None
        self._impatient: IDelayedCall | None = None
        self._silent = False
        self.slow = False

    @property
    def answered(self) -> bool:
        """Whether the server has said why the answer ended."""
        return bool(self._finish)

    def expect_within(self, seconds: float, running: Deferred[Any]) -> None:
        """Cancel `running` unless there is a sign of an answer within `seconds`."""

        def give_up() -> None:
            self.slow = True
            running.cancel()

        def settle(result: Any) -> Any:  # noqa: ANN401
            self._begin()
            # Whatever a client makes of being cancelled: its time was over.
            return Failure(TookTooLong()) if self.slow else result

        self._impatient = self._clock.callLater(seconds, give_up)
        running.addBoth(settle)

    def _begin(self) -> None:
        impatient, self._impatient = self._impatient, None
        if impatient is not None and impatient.active():
            impatient.cancel()

    async def read(self, response: IResponse) -> Completion | Breakdown | Refusal:
        """Read the whole response; return what came of it."""
        body = StreamReader(
            self._clock,
            first_timeout_s=self._first_timeout_s,
            idle_timeout_s=self._idle_timeout_s,
            take=self._take,
            answered=lambda: self.answered,
        )
        response.deliverBody(body)
        ending = await body.finished
        self._silent = body.received == 0
        return self.conclude(ending)

    def give_up(self, why: Why, *, transient: bool) -> Breakdown | Refusal:
        """Return what there is, for want of more."""
        text = "".join(self._pieces)
        if text:
            return _interrupted(text, why)
        return unavailable(why, transient=transient)

    def _take(self, data: str) -> bool:
        """Take the data of one event; tell whether nothing more is needed."""
        if data.strip() == wire.DONE:
            return True
        if not data.strip():
            return False
        chunk = wire.parse_chunk(data, self._asked)
        if isinstance(chunk, Refusal):
            self._refusal = chunk
            return True
        self._chunks += 1
        if chunk.thoughts or chunk.text:
            self._begin()
        if chunk.thoughts:
            self._think(chunk.thoughts)
        self._finish = chunk.finish or self._finish
        self._model = chunk.model or self._model
        self._prompt_tokens = chunk.prompt_tokens or self._prompt_tokens
        self._completion_tokens = chunk.completion_tokens or self._completion_tokens
        self._write(self._cleaner.feed(chunk.text) if chunk.text else "")
        if self._chars > MAX_ANSWER_CHARS:
            self._finish = "length"
            return True
        return False

    def _think(self, piece: str) -> None:
        """Pass on a piece of reasoning; halves of characters that were split are joined."""
        piece = self._thinker.feed(piece)
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

    def conclude(self, ending: Why | None) -> Completion | Breakdown | Refusal:
        """Return what came of the call, whose stream ended early because of `ending`, if so."""
        self._write(self._cleaner.close())
        text = "".join(self._pieces)
        if self._refusal is not None:
            if text and self._refusal.reason is not FailureReason.REFUSED:
                return _interrupted(text, self._refusal.why)
            return self._refusal
        if wire.moderated(self._finish):
            return Refusal(FailureReason.REFUSED, self._finished_so())
        if wire.broken(self._finish):
            return self.give_up(self._finished_so(), transient=True)
        if not self._finish:
            if self._silent and not ending:
                # How some servers say that the context is too long for them.
                return Refusal(FailureReason.TOO_LONG, Why("an empty stream"))
            return self.give_up(ending or Why("the stream ended without a finish"), transient=True)
        if not text.strip() and self._finish == "model_context_window_exceeded":
            return Refusal(FailureReason.TOO_LONG, self._finished_so())
        if not text.strip() and not self._probe:
            # It may have thought all the tokens away: then it would again.
            thought = wire.cut_short(self._finish)
            return Refusal(
                FailureReason.UNAVAILABLE,
                Why("the answer is empty" + (", max_tokens went into thinking" if thought else "")),
                transient=not thought,
            )
        return Completion(
            text=text,
            finish=Finish.LENGTH if wire.cut_short(self._finish) else Finish.STOP,
            model=self._model,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            first_text_s=round(self._first_text_s, 3),
            took_s=round(self._clock.seconds() - self._began, 3),
        )

    def _finished_so(self) -> Why:
        return Why(f"finish_reason {code(self._finish)}")


def _interrupted(text: str, why: Why) -> Breakdown:
    return Breakdown(reason=FailureReason.INTERRUPTED, text=text, detail=str(why), summary=why.said)
