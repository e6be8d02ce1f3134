"""A model's prompt: the system prompt, the turns of the session, the question.

A failed question leaves no dangling user turn. A question whose answer was interrupted or stopped
keeps the part that was written, which lets the user say "continue". A moderated turn is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wxgptd.domain.model.session import Completed, Failed, Question, Session
from wxgptd.domain.model.values import DeliveryKey, FailureReason

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat completion; `picture` is the URL of its picture, if any."""

    role: Role
    content: str
    picture: str = ""


MAX_PICTURES = 4
"""Every question pays for all pictures again, so older ones are left out."""


def messages(session: Session, question: DeliveryKey, system_prompt: str) -> tuple[Message, ...]:
    """Return the messages of the prompt for `question`, oldest first.

    Only earlier questions are included: a later one may already be answered. A question that was
    retried is included once.
    """
    prompt: list[Message] = [Message("system", system_prompt)] if system_prompt else []
    retried = _retried(session, question)
    for turn in session.questions.values():
        if turn.delivery in retried:
            continue
        if turn.delivery == question:
            prompt.append(Message("user", turn.text, turn.image))
            break
        answer = _retained_answer(turn)
        if answer:
            prompt.append(Message("user", turn.text, turn.image))
            prompt.append(Message("assistant", answer))
    pictured = [place for place, message in enumerate(prompt) if message.picture]
    for place in pictured[:-MAX_PICTURES]:
        prompt[place] = replace(prompt[place], content=prompt[place].content or "[…]", picture="")
    return tuple(prompt)


def _retried(session: Session, question: DeliveryKey) -> frozenset[DeliveryKey]:
    """Return the questions repeated by `question`, or by an earlier one that has an answer."""
    retried: set[DeliveryKey] = set()
    for turn in session.questions.values():
        repeated = (
            turn.retries if turn.delivery == question or _retained_answer(turn) else DeliveryKey("")
        )
        while repeated and repeated not in retried:
            retried.add(repeated)
            earlier = session.questions.get(repeated)
            repeated = earlier.retries if earlier is not None else DeliveryKey("")
        if turn.delivery == question:
            break
    return frozenset(retried)


def fitted(
    messages: Sequence[Message], limit: int, tokens_of: Callable[[Sequence[Message]], int]
) -> tuple[Sequence[Message], int]:
    """Return the messages that fit in `limit` tokens, and how many turns were left out.

    The oldest turns are left out first, each as a whole; the system prompt and the question never
    are.
    """
    head = 1 if messages and messages[0].role == "system" else 0
    turns = (len(messages) - head - 1) // 2
    if not limit or tokens_of(messages) <= limit:
        return messages, 0
    # Binary search for the smallest number of turns to leave out.
    low, high = 1, turns
    while low < high:
        middle = (low + high) // 2
        if tokens_of([*messages[:head], *messages[head + 2 * middle :]]) <= limit:
            high = middle
        else:
            low = middle + 1
    return ([*messages[:head], *messages[head + 2 * high :]], high) if turns else (messages, 0)


def _retained_answer(turn: Question) -> str:
    match turn.answer:
        case Completed(text=text):
            return text
        case Failed(reason=FailureReason.INTERRUPTED | FailureReason.STOPPED, text=text):
            return text
        case _:
            return ""
