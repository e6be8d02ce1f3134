"""Interpret the errors and failures of model servers. Pure.

The order of the checks follows what real servers send (according to the providers' docs, and as
observed with llama.cpp, vLLM and one-api).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from wxgptd.domain.model.values import FailureReason
from wxgptd.llm.failure_detail import FailureDetail, code, printable
from wxgptd.untyped import Json, JsonView, Result


class Blame(StrEnum):
    """The cause of a failure, which determines whether the next caller would see it too."""

    NONE = "none"
    QUESTION = "question"
    MODEL = "model"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class ModelError:
    """The server rejected the request or failed; `transient` if a retry may help.

    `complaint` is the server's message if it is about the request, so that changing the request may
    help. `context_limit` is the context window in tokens if the server states it, or 0. `blame` is
    what caused the failure; `slow` is set if it took too long (the next call may not).
    """

    reason: FailureReason
    why: FailureDetail
    transient: bool = False
    retry_after_s: float = 0.0
    complaint: str = ""
    context_limit: int = 0
    blame: Blame = Blame.QUESTION
    slow: bool = False


# What errors mean. Codes are only looked up in code fields, phrases only in messages.

_BUSY_CODES = frozenset({"rate_limit_exceeded", "1302", "1303", "1305", "1312"})
_BUSY = re.compile(
    r"qps (?:request )?limit|rate.?limit|too many requests|"
    r"(?:请求|访问)过于频繁|并发数?(?:已达|超过)",
    re.IGNORECASE,
)
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
"""`no_db_connection` is what LiteLLM returns for an unknown key."""

_NO_MODEL_CODES = frozenset(
    {
        "model_not_found", "model_not_exist", "modelnotfound", "invalid_model", "1211", "20012",
        "invalidendpointormodel.notfound",
    }
)  # fmt: skip
_NO_MODEL = re.compile(
    r"\b(?:no such|unknown|invalid|not found the) model\b|\bnot a valid model\b|"
    r"\bmodel\b[^.\n]{0,120}?\b(?:not found|(?:does )?not exist|is not (?:available|supported))|"
    r"模型不存在|没有这个模型|无此模型",
    re.IGNORECASE,
)

_FILTERED_CODES = frozenset({"content_filter", "data_inspection_failed", "1301"})
_FILTERED = re.compile(
    r"content_filter|content_policy|data_inspection_failed|RiskDetection|high risk", re.IGNORECASE
)


_MAX_TOKENS_TOO_LARGE = re.compile(r"max_(?:completion_)?tokens\W{0,4} is too large", re.IGNORECASE)
"""Some servers also mention the context length when they mean the length of the answer."""


def classify(status: int, body: str, retry_after_s: float = 0.0, asked: str = "") -> ModelError:
    """Return what an error response means. `status` is 200 for an error inside a stream.

    `asked` is what the user wrote: words that a server merely quotes from it are ignored.
    """
    why = _why(status, body)
    if status == 200:
        # Once a stream has begun, some servers send the status as an error code.
        status = next((int(value) for value in _error_codes(body) if _STATUS.fullmatch(value)), 200)
    if _is_unknown_model(status, body, asked):
        return ModelError(FailureReason.MISCONFIGURED, why, blame=Blame.MODEL)
    reason = _by_status(status)
    if status in (400, 422) and _MAX_TOKENS_TOO_LARGE.search(body):
        return ModelError(FailureReason.UNAVAILABLE, why, complaint=body[:4_000])
    if reason is None and status < 500:
        reason = _by_content(body, asked)
    if reason is FailureReason.BUSY or (reason is None and status == 429):
        retry_after_s = retry_after_s or _stated_wait_s(body, asked)
        return ModelError(FailureReason.BUSY, why, transient=True, retry_after_s=retry_after_s)
    if reason is FailureReason.TOO_LONG:
        return ModelError(reason, why, context_limit=context_limit(body, asked))
    if reason in (FailureReason.MISCONFIGURED, FailureReason.QUOTA):
        # A key may be valid for one model and not for another.
        return ModelError(reason, why, blame=Blame.MODEL if status == 403 else Blame.ENDPOINT)
    if reason is not None:
        return ModelError(reason, why)
    down = FailureReason.UNAVAILABLE
    if status in (400, 422):
        return ModelError(down, why, complaint=body[:4_000])
    transient = status in (200, 408, 409) or status >= 500
    return ModelError(down, why, transient, retry_after_s, blame=Blame.MODEL)


def _is_unknown_model(status: int, body: str, asked: str) -> bool:
    """Return whether the server does not know the model: `model` is wrong, not the address."""
    if _error_codes(body) & _NO_MODEL_CODES:
        return status in (200, 400, 404, 422, 503)
    asked = asked.lower()
    matches = _NO_MODEL.finditer(error_sentence(body)) if status in (400, 404, 422) else ()
    return any(match[0].lower() not in asked for match in matches)


def unavailable(why: FailureDetail, *, transient: bool) -> ModelError:
    """Return the error for a model that did not answer; unless `transient`, it was too slow."""
    return ModelError(
        FailureReason.UNAVAILABLE, why, transient, blame=Blame.MODEL, slow=not transient
    )


_WAIT = re.compile(
    r"(?:(?:try|retry)(?: again)? (?:in|after)(?: about)?|wait(?: for)?|retrydelay\W{1,5}"
    r"|请(?:等待|稍等|在|于)?) ?"
    r"(?P<time>(?:[0-9]{1,6}(?:\.[0-9]{1,6})? ?"
    r"(?:ms|milliseconds?|hours?|h|minutes?|mins?|m|seconds?|secs?|s|毫秒|秒|分钟?|小时)"
    r"(?![a-z]) ?)+)",
    re.IGNORECASE,
)
"""OpenAI: "try again in 1m12.5s"; Gemini: "retryDelay": "32s"; 请 10 秒后重试."""

_WAIT_THEN = re.compile(
    r"(?P<time>(?:[0-9]{1,6} ?(?:毫秒|秒|分钟?|小时))+)(?:钟|之)?后(?:再|重)?试?"
)

_PART = re.compile(r"([0-9.]+) ?(ms|mil|毫秒|h|小时|m|分|s|秒)", re.IGNORECASE)
_UNITS_S = {
    "ms": 0.001, "mil": 0.001, "毫秒": 0.001, "h": 3_600.0, "小时": 3_600.0,
    "m": 60.0, "分": 60.0, "s": 1.0, "秒": 1.0,
}  # fmt: skip


def _stated_wait_s(body: str, asked: str) -> float:
    """Return how many seconds an error's text says to wait, at most one day; 0 if none."""
    body = f"{body}\n{error_sentence(body)}"  # Chinese may be escaped in the raw body
    matches = (*_WAIT.finditer(body), *_WAIT_THEN.finditer(body))
    wait = next((match for match in matches if match[0] not in asked), None)
    if wait is None:
        return 0.0
    parts = _PART.findall(wait["time"])
    return min(sum(float(number) * _UNITS_S[unit.lower()] for number, unit in parts), 86_400.0)


_CONTEXT_LIMIT = re.compile(
    r"(?:maximum context length|context length is only|available context size|range of input "
    r"length should be|model token limit|n_ctx)[^0-9]{0,40}?(?:\[1, ?)?([0-9][0-9,]{2,10})",
    re.IGNORECASE,
)


def context_limit(body: str, asked: str = "") -> int:
    """Return the context window, in tokens, stated in a server's error, or 0 if none is."""
    limit = next((match for match in _CONTEXT_LIMIT.finditer(body) if match[0] not in asked), None)
    return int(limit[1].replace(",", "")) if limit is not None else 0


def _by_content(body: str, asked: str) -> FailureReason | None:
    """Return what an error's own fields mean, ignoring words quoted from the user."""
    text, asked = error_sentence(body), asked.lower()
    codes = _error_codes(body)
    if codes & _BUSY_CODES:
        return FailureReason.BUSY  # the messages of these errors mention billing too
    if codes & _MISCONFIGURED_CODES:
        return FailureReason.MISCONFIGURED
    for known_codes, pattern, reason in (
        (_TOO_LONG_CODES, _TOO_LONG, FailureReason.TOO_LONG),
        (_FILTERED_CODES, _FILTERED, FailureReason.CONTENT_FILTER),
        (_QUOTA_CODES, _QUOTA, FailureReason.QUOTA),
        (_BUSY_CODES, _BUSY, FailureReason.BUSY),
    ):
        has_code = codes & known_codes or any(pattern.search(code) for code in codes)
        if has_code or any(match[0].lower() not in asked for match in pattern.finditer(text)):
            return reason
    return None


_STATUS = re.compile(r"[45][0-9]{2}")


_MESSAGE_FIELDS = (
    "message", "error_message", "error_msg", "errmsg", "err_msg", "status_msg", "msg", "err",
    "detail",
)  # fmt: skip
_CODE_FIELDS = ("code", "error_code", "errcode", "err_code", "status_code")
_TYPE_FIELDS = ("type", "error_type")
_SUCCESS = frozenset(
    {
        "", "0", "200", "success", "succeeded", "ok", "none", "null", "heartbeat", "ping", "pong",
        "keep-alive", "keepalive",
    }
)  # fmt: skip
"""Codes and messages that servers send on success."""
_ERROR_MESSAGE_FIELDS = ("error_message", "error_msg", "errmsg", "err_msg")
"""Fields that indicate an error even in a response with a choice."""


def is_error(said: JsonView, *, has_answer: bool) -> bool:
    """Return whether an object in a 200 is an error; `has_answer` if it contains a choice.

    Gateways signal success with an empty error, or with a code that means success.
    """
    error = _error(said)
    if isinstance(error, dict):
        codes = _codes(error)
        if codes - _SUCCESS or (not codes and (_message(error) or error.get("type"))):
            return True
    if isinstance(error, str) and error.strip().lower() not in _SUCCESS:
        return True
    if has_answer:
        messages = (said.get(name) for name in _ERROR_MESSAGE_FIELDS)
        has_message = any(
            isinstance(message, str) and message.lower() not in _SUCCESS for message in messages
        )
        return has_message or bool(_codes(_base(said)) - _SUCCESS)
    for place in (said, _base(said)):
        codes = _codes(place)
        if codes - _SUCCESS or (_message(place) and not codes):
            return True
    return False


def _error(parsed: JsonView) -> Result:
    """Return the error in an object, or in its first choice."""
    if parsed.get("error"):
        return parsed["error"]
    errors = parsed.get("errors")
    if isinstance(errors, list) and errors:
        return errors[0]
    choices = parsed.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice.get("error") if isinstance(choice, dict) else None


def _base(parsed: JsonView) -> JsonView:
    base = parsed.get("base_resp")
    return base if isinstance(base, dict) else {}


def _codes(place: JsonView) -> set[str]:
    values = (place.get(name) for name in _CODE_FIELDS)
    return {str(code).lower() for code in values if isinstance(code, str | int)}


def _message(place: JsonView) -> str:
    """Return the message of an object, unless it reports success."""
    values = (place.get(name) for name in _MESSAGE_FIELDS)
    sentences = (value for value in values if isinstance(value, str))
    return next((sentence for sentence in sentences if sentence.lower() not in _SUCCESS), "")


def _error_codes(body: str) -> set[str]:
    """Return the values of an error body's code and type fields."""
    parsed = _parse_object(body)
    error = _error(parsed)
    places = (parsed, _base(parsed), error if isinstance(error, dict) else {})
    types = (place.get(name) for place in places for name in _TYPE_FIELDS)
    return {str(value).lower() for value in types if isinstance(value, str)} | {
        code for place in places for code in _codes(place)
    }


def _by_status(status: int) -> FailureReason | None:
    match status:
        case 401 | 403:
            return FailureReason.MISCONFIGURED
        case 402:
            return FailureReason.QUOTA
        case 413:
            return FailureReason.TOO_LONG
        case _:
            return None


def error_sentence(body: str) -> str:
    """Return the message of an error body, wherever the server put it, or else the whole body."""
    parsed = _parse_object(body)
    error = _error(parsed)
    if isinstance(error, dict) and (_message(error) or _codes(error) or error.get("type")):
        return _message(error)
    message = _message(parsed) or _message(_base(parsed))
    return message or (error if isinstance(error, str) else body)


def _why(status: int, body: str) -> FailureDetail:
    parsed = _parse_object(body)
    error = _error(parsed)
    places = [error] if isinstance(error, dict) else [parsed, _base(parsed)]
    names = [
        str(place[name])
        for place in places
        for name in (*_CODE_FIELDS, *_TYPE_FIELDS)
        if place.get(name)
    ]
    codes = " ".join(dict.fromkeys(code(name) for name in names))
    head = f"HTTP {status}" if status != 200 else "error in the response"
    return FailureDetail(f"{head} ({codes})" if codes else head, printable(error_sentence(body)))


def _parse_object(body: str) -> Json:
    """Return an error body's object, or the first one in a list, or else an empty one."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    return parsed if isinstance(parsed, dict) else {}
