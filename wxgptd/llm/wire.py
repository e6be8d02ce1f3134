"""What is said to a model server, and what its answers mean. Pure.

Chat completions in OpenAI's dialect, read liberally: servers leave out what they like. The
order in which an error is recognised follows what real servers send (docs of the providers, and
llama.cpp, vLLM and one-api as measured).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from wxgptd.domain.context import Message
from wxgptd.domain.values import FailureReason

DONE = "[DONE]"
MAX_DETAIL = 300
MAX_COUNT = 2**53
"""Beyond what JSON numbers hold exactly no server has counted anything."""


def completions_url(base_url: str) -> str:
    """Return where completions are asked for; never inserts a version, keeps a query."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit(parts._replace(path=path))


MAX_TOKENS = "max_tokens"
NEWER_MAX_TOKENS = "max_completion_tokens"
STREAM_OPTIONS = "stream_options"


def request_body(
    model: str, messages: Sequence[Message], parameters: Mapping[str, object]
) -> bytes:
    """Return the body of a request for a streamed completion."""
    asked = {
        "model": model,
        "messages": [{"role": one.role, "content": _said(one)} for one in messages],
        "stream": True,
        **parameters,
    }
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


class Parameters:
    """What is asked for beside the question, less what a server turned out not to take.

    Servers differ in what they know, and say so when it is too late: a parameter that an error
    names is left out from then on. The newer name for `max_tokens` is tried where that is what
    the error asks for, and a lower number where it says how many there may be at most.
    """

    def __init__(self, parameters: Mapping[str, object]) -> None:
        self._wanted = dict(parameters)

    def sent(self, *, probe: bool) -> Mapping[str, object]:
        """Return what is to be sent; a `probe` asks for a single token."""
        if not probe:
            return dict(self._wanted)
        return {
            name: 1 if name in (MAX_TOKENS, NEWER_MAX_TOKENS) else value
            for name, value in self._wanted.items()
        }

    def give_way(self, complaint: str, sent: Mapping[str, object]) -> str:
        """Change what an error about `sent` is about; return in words what, or nothing.

        Another question may have found it out meanwhile: then there is nothing to change.
        """
        wanted = self._wanted
        if sent.keys() != wanted.keys():
            return "another question has found out"
        if MAX_TOKENS in wanted and NEWER_MAX_TOKENS in complaint:
            wanted[NEWER_MAX_TOKENS] = wanted.pop(MAX_TOKENS)
            return f"{MAX_TOKENS} is called {NEWER_MAX_TOKENS} from now on"
        for name in wanted:
            if not _names(complaint, name):
                continue
            most = _AT_MOST.search(complaint)
            now = wanted[name]
            if name in (MAX_TOKENS, NEWER_MAX_TOKENS) and most and isinstance(now, int):
                lower = int(most[1].replace(",", ""))
                if 0 < lower < now:
                    wanted[name] = lower
                    return f"{name} is {lower} from now on"
            del wanted[name]
            return f"{name} is left out from now on"
        return ""


_AT_MOST = re.compile(
    r"(?:at most|maximum(?: allowed)?(?: value)?(?: is| of)?|less than or equal to|<=|up to)\s*"
    r"([0-9][0-9,]{0,8})",
    re.IGNORECASE,
)


def _names(complaint: str, parameter: str) -> bool:
    """Tell whether an error is about `parameter`, rather than has the word in it by chance."""
    name = re.escape(parameter)
    return bool(
        re.search(rf"""["'`.\[]{name}["'`\]:]""", complaint)
        or re.search(
            rf"(?i:parameters?|fields?|arguments?|inputs?|options?|property|body)[:. ]+{name}\b",
            complaint,
        )
        or re.search(
            rf"(?i:unsupported|unknown|unrecognized|unexpected|invalid|extra)\b[^.]{{0,40}}\b{name}\b",
            complaint,
        )
        or re.search(
            rf"\b{name}\b[^.]{{0,30}}(?i:not supported|unsupported|unknown|not permitted"
            r"|not allowed|is too|must be|should be)",
            complaint,
        )
    )


def _said(message: Message) -> object:
    if not message.picture:
        return message.content
    picture = {"type": "image_url", "image_url": {"url": message.picture}}
    words = [{"type": "text", "text": message.content}] if message.content else []
    return [*words, picture]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one chunk, or a whole body, says. Empty where it does not.

    `thinking` tells whether it has a piece of reasoning, which is not shown.
    """

    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    thinking: bool = False


class Blame(StrEnum):
    """What a failure says something about: what the next one to ask would meet, too."""

    QUESTION = "question"
    MODEL = "model"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server refuses or fails; `transient` if asking again may help.

    `complaint` is what the server says where it is about the request, so that another one may do.
    `context_limit` is how many tokens the server says that it takes, or 0. `blame` says whom it
    speaks of; `slow` that it took too long, which another time need not.
    """

    reason: FailureReason
    detail: str
    transient: bool = False
    retry_after_s: float = 0.0
    complaint: str = ""
    context_limit: int = 0
    blame: Blame = Blame.QUESTION
    slow: bool = False


class Unintelligible(ValueError):
    """The server sent what is no chunk."""


def parse_chunk(data: str) -> Chunk | Refusal:
    """Return what the data of one event says, or the body of an answer that was not streamed.

    Raises:
        Unintelligible: it is not JSON, or no object.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise Unintelligible(f"not JSON: {printable(data)}") from None
    if not isinstance(said, dict):
        raise Unintelligible(f"no object: {printable(data)}")
    if said.get("error") or ("choices" not in said and ("code" in said or "message" in said)):
        return classify(200, data)
    choices = said.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        choice = {}
    delta = choice.get("delta") or choice.get("message") or {}
    text = delta.get("content") if isinstance(delta, dict) else None
    usage = said.get("usage") or choice.get("usage") or {}
    model = said.get("model")
    thoughts = (
        (delta.get("reasoning_content") or delta.get("reasoning"))
        if isinstance(delta, dict)
        else None
    )
    return Chunk(
        text=_content(text),
        thinking=bool(thoughts),
        finish=finish if isinstance(finish := choice.get("finish_reason"), str) else "",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        model=printable(model)[:100] if isinstance(model, str) else "",
    )


def _content(said: object) -> str:
    """Return the text of a content, which some servers send as a list of parts."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        parts = (part.get("text") for part in said if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT:
        return value
    return 0


# What errors mean. Codes are looked for where codes stand; sentences where people read them.

_BUSY_CODES = frozenset({"rate_limit_exceeded", "1302", "1303", "1305", "1312"})
_QUOTA_CODES = frozenset(
    {"insufficient_quota", "arrearage", "accountoverdueerror", "1113", "insufficient_balance"}
)
_QUOTA = re.compile(
    r"insufficient_quota|insufficient.?balance|arrearage|accountoverdue|exceeded your "
    r"current quota|余额不足|欠费",
    re.IGNORECASE,
)
_TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded", "exceed_context_size_error", "tokens_too_long",
        "model_context_window_exceeded", "1261",
    }
)  # fmt: skip
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context length is only|"
    r"exceeds the available context size|range of input length|input token length too long|"
    r"exceeded model token limit|prompt is too long|ContextWindowExceeded",
    re.IGNORECASE,
)
_MISCONFIGURED_CODES = frozenset({"invalid_api_key", "no_db_connection"})
"""The latter is what LiteLLM says to a key that it does not know."""

_REFUSED_CODES = frozenset({"content_filter", "data_inspection_failed", "1301"})
_REFUSED = re.compile(
    r"content_filter|content_policy|data_inspection_failed|RiskDetection|high risk", re.IGNORECASE
)
_MODERATED_FINISHES = frozenset({"content_filter", "sensitive"})


_TOO_MANY_ASKED_FOR = re.compile(r"max_(?:completion_)?tokens\W{0,4} is too large", re.IGNORECASE)
"""Some servers speak of the context's length as well, where the answer's is meant."""


def classify(status: int, body: str, retry_after_s: float = 0.0) -> Refusal:
    """Return what an error response means. `status` is 200 for an error inside a stream."""
    detail = f"HTTP {status}: {error_text(body)}" if status != 200 else error_text(body)
    if status == 200:
        # What some servers would have said by a status, had they not begun to stream.
        status = next((int(one) for one in _error_codes(body) if _STATUS.fullmatch(one)), 200)
    refused = _by_status(status)
    if status in (400, 422) and _TOO_MANY_ASKED_FOR.search(body):
        return Refusal(FailureReason.UNAVAILABLE, detail, complaint=body[:4_000])
    if refused is None and status < 500:
        refused = _by_content(body)
    if refused is FailureReason.BUSY or (refused is None and status == 429):
        return Refusal(FailureReason.BUSY, detail, transient=True, retry_after_s=retry_after_s)
    if refused is FailureReason.TOO_LONG:
        return Refusal(refused, detail, context_limit=context_limit(body))
    if refused in (FailureReason.MISCONFIGURED, FailureReason.QUOTA):
        # A key may be good for one model and not for another.
        return Refusal(refused, detail, blame=Blame.MODEL if status == 403 else Blame.ENDPOINT)
    if refused is not None:
        return Refusal(refused, detail)
    down = FailureReason.UNAVAILABLE
    if status in (400, 422):
        return Refusal(down, detail, complaint=body[:4_000])
    transient = status in (200, 408, 409) or status >= 500
    return Refusal(down, detail, transient, retry_after_s, blame=Blame.MODEL)


_LIMIT = re.compile(
    r"(?:maximum context length|context length is only|available context size|range of input "
    r"length should be|model token limit|n_ctx)[^0-9]{0,40}?(?:\[1, ?)?([0-9][0-9,]{2,10})",
    re.IGNORECASE,
)


def context_limit(body: str) -> int:
    """Return how many tokens the server says that it takes, or 0 if it does not say."""
    found = _LIMIT.search(body)
    return int(found[1].replace(",", "")) if found is not None else 0


def _by_content(body: str) -> FailureReason | None:
    codes = _error_codes(body)
    if codes & _BUSY_CODES:
        return FailureReason.BUSY  # whose sentences speak of billing, too
    if codes & _MISCONFIGURED_CODES:
        return FailureReason.MISCONFIGURED
    for known, pattern, reason in (
        (_TOO_LONG_CODES, _TOO_LONG, FailureReason.TOO_LONG),
        (_REFUSED_CODES, _REFUSED, FailureReason.REFUSED),
        (_QUOTA_CODES, _QUOTA, FailureReason.QUOTA),
    ):
        if codes & known or pattern.search(body):
            return reason
    return None


_STATUS = re.compile(r"[45][0-9]{2}")


def _error_codes(body: str) -> set[str]:
    """Return what stands in an error body where codes do."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    if isinstance(said, list) and said:
        said = said[0]
    places = [said, said.get("error")] if isinstance(said, dict) else []
    found = (
        place.get(name) for place in places if isinstance(place, dict) for name in ("code", "type")
    )
    return {str(code).lower() for code in found if isinstance(code, str | int)}


def _by_status(status: int) -> FailureReason | None:
    match status:
        case 401 | 403:
            return FailureReason.MISCONFIGURED
        case 402:
            return FailureReason.QUOTA
        case _:
            return None


_BROKEN_FINISHES = frozenset({"error", "network_error", "insufficient_system_resource"})
_FULL_FINISHES = frozenset({"length", "max_tokens", "model_context_window_exceeded"})


def broken(finish: str) -> bool:
    """Tell whether a finish reason means that the answer broke off."""
    return finish in _BROKEN_FINISHES


def cut_short(finish: str) -> bool:
    """Tell whether a finish reason means that there was no room for the rest."""
    return finish in _FULL_FINISHES


def moderated(finish: str) -> bool:
    """Tell whether a finish reason means that the provider suppressed the answer."""
    return finish in _MODERATED_FINISHES


def error_text(body: str) -> str:
    """Return the message of an error body, fit for a log line."""
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        return printable(body)
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict):
        error = said.get("error")
        if isinstance(error, dict):
            code = error.get("code") or error.get("type") or ""
            message = error.get("message") or ""
            if message or code:
                return printable(f"{code}: {message}" if code else str(message))
        for name in ("message", "msg", "err", "error_msg", "detail"):
            if said.get(name):
                return printable(str(said[name]))
        if isinstance(error, str):
            return printable(error)
    return printable(body)


def printable(text: str) -> str:
    """Return `text` fit for a log line."""
    shown = "".join(char if char.isprintable() else " " for char in text[: MAX_DETAIL * 2])
    return " ".join(shown.split())[:MAX_DETAIL]


# The text itself.

_FORBIDDEN = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


MAX_THOUGHT_CHARS = 200_000


class Cleaner:
    """Makes what a model writes fit to be shown, piece by piece.

    Leaves out `<think>...</think>` and what neither XML nor a reader can take; joins the halves
    of characters that were split over pieces; drops white space before the first word.

    Thoughts come first, so one that the answer begins with and that never ends is dropped. A mark
    further on that is never closed was a word of the answer, and is given back at the end; one
    behind a backtick is a word at once.
    """

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self) -> None:
        self._thinking = False
        self._begun = False
        self._held = ""
        self._thought: list[str] = []
        self._thought_chars = 0
        self._last = ""
        self._surrogate = ""

    def feed(self, piece: str) -> str:
        """Return what of `piece`, and of what was held back before, can be shown."""
        return self._show(self._unthink(self._join(piece)))

    def close(self) -> str:
        """Return what was held back and turned out to be plain text."""
        held, self._held = self._held, ""
        if self._thinking:
            held = "".join((*self._thought, held)) if self._begun else ""
        return self._show(held)

    def _join(self, piece: str) -> str:
        piece = self._surrogate + piece
        self._surrogate = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._surrogate = piece[:-1], piece[-1]
        if any("\ud800" <= char <= "\udfff" for char in piece):
            piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return piece

    def _unthink(self, piece: str) -> str:
        pending = self._held + piece
        shown: list[str] = []
        while True:
            mark = self._CLOSE if self._thinking else self._OPEN
            before, found, after = pending.partition(mark)
            if not found:
                break
            pending = after
            if self._thinking:
                self._thinking, self._thought, self._thought_chars = False, [], 0
                continue
            shown.append(before)
            if (before or self._last).endswith("`"):
                shown.append(mark)
                self._last = mark
            else:
                self._thinking, self._thought, self._last = True, [mark], ""
        # The end may be the first letters of a mark.
        kept = next(
            (size for size in range(len(mark) - 1, 0, -1) if pending.endswith(mark[:size])), 0
        )
        certain, self._held = pending[: len(pending) - kept], pending[len(pending) - kept :]
        if self._thinking:
            # Thoughts without end are dropped in any case: nobody would read so many.
            if self._thought_chars < MAX_THOUGHT_CHARS:
                self._thought.append(certain)
                self._thought_chars += len(certain)
        else:
            shown.append(certain)
            self._last = certain or self._last
        return "".join(shown)

    def _show(self, text: str) -> str:
        text = _FORBIDDEN.sub("", text)
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text
