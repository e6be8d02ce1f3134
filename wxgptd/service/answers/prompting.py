"""The prompt for a question: the system prompt, the session so far, and pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from twisted.internet.defer import FirstError, gatherResults

from wxgptd.domain.model.session import Session
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.domain.prompt import context
from wxgptd.domain.prompt.context import Message
from wxgptd.service.answers.room import Room
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.settings import Assistant, Settings

WEEKDAYS = "一二三四五六日"


class Prompting:
    """Builds a session's messages. Pictures being sent to models share `picture_room`."""

    def __init__(self, settings: Settings, event_clock: EventClock, picture_room: Room) -> None:
        self._settings = settings
        self._event_clock = event_clock
        self._picture_room = picture_room

    @asynccontextmanager
    async def messages(
        self, user: User, session: Session, question: DeliveryKey, own: Assistant
    ) -> AsyncIterator[Sequence[Message] | None]:
        """Yield the messages for `own`, or None if the question's picture cannot be fetched.

        Memory for their pictures stays reserved until the block ends, because each is copied
        several times as it is sent to the model.
        """
        messages = context.messages(session, question, self._system_prompt(own, user))
        count = sum(bool(message.picture) for message in messages) if own.vision else 0
        if not count:
            yield messages
            return
        place = await self._picture_room.enter(count * self._settings.pictures.largest)
        try:
            fetched = await self._with_pictures(messages)
            if fetched is not None:
                place.shrink(sum(len(message.picture) for message in fetched))
            yield fetched
        finally:
            place.leave()

    def blind(self, message: Message) -> Message:
        """Return `message` with text in place of its picture."""
        if not message.picture:
            return message
        text = message.content or self._settings.page_texts.page_picture
        return replace(message, content=text, picture="")

    def _system_prompt(self, assistant: Assistant, user: User) -> str:
        today = datetime.fromtimestamp(self._event_clock.now())
        values = {
            "{date}": f"{today:%Y-%m-%d}",
            "{weekday}": f"星期{WEEKDAYS[today.weekday()]}",
            "{account}": user.account,
        }
        prompt = assistant.system_prompt
        for placeholder, value in values.items():
            prompt = prompt.replace(placeholder, value)
        return prompt

    async def _with_pictures(self, messages: Sequence[Message]) -> Sequence[Message] | None:
        """Return the messages with their pictures, or None if the question's cannot be fetched.

        WeChat keeps pictures for only a few days: an earlier one that has been deleted is left out.
        """
        fetched = list(messages)
        pictured = [index for index, message in enumerate(messages) if message.picture]
        try:
            pictures = await gatherResults(
                [self._settings.pictures.fetch(messages[index].picture) for index in pictured],
                consumeErrors=True,
            )
        except FirstError as error:
            error.subFailure.raiseException()  # re-raise the cause: it may be a cancellation
        for index, picture in zip(pictured, pictures, strict=True):
            message = messages[index]
            if picture is None and index == len(messages) - 1:
                return None
            fetched[index] = (
                replace(message, picture=picture) if picture is not None else self.blind(message)
            )
        return fetched
