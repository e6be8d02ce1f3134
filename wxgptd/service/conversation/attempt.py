"""One of WeChat's attempts to deliver a message, as it arrived."""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.model.values import Content, DeliveryKey, User


class Attempt(NamedTuple):
    """One of WeChat's attempts to deliver a message.

    `sent_at` is when WeChat sent the message first, by its clock; the attempt arrived at `arrived`
    by the monotonic clock, which is `at` on the event clock. All are seconds.
    """

    user: User
    delivery: DeliveryKey
    content: Content
    sent_at: int
    arrived: float
    at: float
