"""Bodies of older versions of events, brought up to the newest one step at a time.

A step is registered under the tag and the version that
it starts from, and is never changed once a release has written that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wxgptd.loose import Packed

Step = Callable[[Packed], Packed]


def _reply_offered_1(body: Packed) -> Packed:
    """Answers were shown as they were written, and what was left of one was not recorded."""
    return (*body, "markdown", None, "")


def _answer_completed_3(body: Packed) -> Packed:
    """What an answer took was among the other fields."""
    (
        question, text, finish, model, prompt_tokens, completion_tokens, first_text_s, took_s,
        assistant, estimated, prompt_bytes, cost, withdrawn,
    ) = body  # fmt: skip
    usage = (assistant, prompt_tokens, completion_tokens, estimated, prompt_bytes, cost)
    return (question, text, finish, model, first_text_s, took_s, usage, withdrawn)


def _answer_failed_3(body: Packed) -> Packed:
    """Only the sum of a failure's tokens was recorded, and it was an estimate."""
    question, reason, text, detail, retry_after_s, tokens, assistant, cost = body
    usage = (assistant, tokens, 0, tokens > 0, 0, cost)
    return (question, reason, text, detail, retry_after_s, usage)


STEPS: Mapping[tuple[int, int], Step] = {
    (3, 1): lambda body: (*body, 0, False),  # CommandGiven: when it was sent was not noted
    (4, 1): lambda body: (*body, ""),  # QuestionAsked: no pictures yet
    (4, 2): lambda body: (*body, 0, 0.0, False),  # QuestionAsked: time ran from the arrival
    (4, 3): lambda body: (*body, "", False),  # QuestionAsked: none was repeated, or held back
    (5, 1): lambda body: (*body, 0, 0.0, False),  # ContinuationAsked: so here
    (6, 1): lambda body: (*body, False),  # MessageDeclined: there was nothing to tap
    (10, 1): lambda body: (*body, "", False, 0, 0.0),  # AnswerCompleted: nobody counted costs
    (10, 2): lambda body: (*body, False),  # AnswerCompleted: nothing was taken back
    (10, 3): _answer_completed_3,
    (11, 1): lambda body: (*body, 0),  # AnswerFailed: what it took was not counted
    (11, 2): lambda body: (*body, "", 0.0),  # AnswerFailed: nor by whose prices
    (11, 3): _answer_failed_3,
    (13, 1): _reply_offered_1,
    (21, 1): lambda body: (*body, False),  # ModelChosen: nor here
}


def upcast(
    tag: int,
    version: int,
    newest: int,
    body: Packed,
    steps: Mapping[tuple[int, int], Step] = STEPS,
) -> Packed:
    """Return `body` as the newest version of `tag` would have written it."""
    for step in range(version, newest):
        body = steps[tag, step](body)
    return body
