"""One of WeChat's attempts to deliver a message, as it arrived."""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.model.values import Content, DeliveryKey, User


class Attempt(NamedTuple):
    """One of WeChat's attempts to deliver a message.

    `sent_at` is when WeChat first sent the message, by WeChat's clock. `arrived` is when this
    attempt arrived, by the monotonic clock; `at` is the same moment by the event clock. All are in
    seconds.
    """

    user: User
    delivery: DeliveryKey
    content: Content
    sent_at: int
    arrived: float
    at: float
