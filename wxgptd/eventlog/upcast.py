"""Convert the bodies of older event versions to the newest, one step at a time.

A step is registered under the tag and the version that it starts from, and never changes once a
release has written that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wxgptd.untyped import Packed

Step = Callable[[Packed], Packed]


def _reply_offered_1(body: Packed) -> Packed:
    """Answers were shown as written, and the rest of an answer was not recorded."""
    return (*body, "markdown", None, "")


def _answer_completed_3(body: Packed) -> Packed:
    """Token usage was spread across the other fields."""
    (
        question, text, finish, model, prompt_tokens, completion_tokens, first_text_s, took_s,
        assistant, estimated, prompt_bytes, cost, withdrawn,
    ) = body  # fmt: skip
    usage = (assistant, prompt_tokens, completion_tokens, estimated, prompt_bytes, cost)
    return (question, text, finish, model, first_text_s, took_s, usage, withdrawn)


def _answer_failed_3(body: Packed) -> Packed:
    """For failures, only an estimated total of tokens was recorded."""
    question, reason, text, detail, retry_after_s, tokens, assistant, cost = body
    usage = (assistant, tokens, 0, tokens > 0, 0, cost)
    return (question, reason, text, detail, retry_after_s, usage)


STEPS: Mapping[tuple[int, int], Step] = {
    (3, 1): lambda body: (*body, 0, False),  # CommandGiven: no sending time, no taps
    (4, 1): lambda body: (*body, ""),  # QuestionAsked: no pictures yet
    (4, 2): lambda body: (*body, 0, 0.0, False),  # QuestionAsked: no sending time, no taps
    (4, 3): lambda body: (*body, "", False),  # QuestionAsked: no retries, no held messages
    (4, 4): lambda body: (*body, ""),  # QuestionAsked: no choice of a model
    (5, 1): lambda body: (*body, 0, 0.0, False),  # ContinuationAsked: likewise
    (6, 1): lambda body: (*body, False),  # MessageDeclined: no taps
    (10, 1): lambda body: (*body, "", False, 0, 0.0),  # AnswerCompleted: costs not recorded
    (10, 2): lambda body: (*body, False),  # AnswerCompleted: no withdrawals
    (10, 3): _answer_completed_3,
    (11, 1): lambda body: (*body, 0),  # AnswerFailed: tokens not recorded
    (11, 2): lambda body: (*body, "", 0.0),  # AnswerFailed: assistant, cost not recorded
    (11, 3): _answer_failed_3,
    (13, 1): _reply_offered_1,
    (15, 1): lambda body: (*body, True),  # PageOpened: extended the session
    (21, 1): lambda body: (*body, False),  # ModelChosen: no taps
}


def upcast(
    tag: int,
    version: int,
    newest: int,
    body: Packed,
    steps: Mapping[tuple[int, int], Step] = STEPS,
) -> Packed:
    """Return `body` in the `newest` version of `tag`."""
    for step in range(version, newest):
        body = steps[tag, step](body)
    return body
