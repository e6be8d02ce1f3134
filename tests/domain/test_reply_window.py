"""The timing of WeChat's three attempts."""

from __future__ import annotations

import pytest

from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.values import DeliveryKey

SENT = 1_700_000_000
QUESTION = DeliveryKey("q")


@pytest.mark.parametrize(
    ("arrival", "sent_at", "offset", "delay"),
    [
        (SENT + 0.4, SENT, 0.0, 0.0),
        (SENT + 0.99, SENT, 0.0, 0.0),  # Sent within this second.
        (SENT + 1.5, SENT, 0.0, 1.5),
        (SENT + 14.0, SENT, 0.0, 14.0),
        (SENT + 14.9, SENT, 0.0, 14.9),
        (SENT + 15.0, SENT, 0.0, 0.0),  # WeChat would have given up.
        (SENT + 3_600.0, SENT, 0.0, 0.0),
        (SENT - 1.0, SENT, 0.0, 0.0),  # Sent in the future.
        (SENT + 0.4, 0, 0.0, 0.0),  # No timestamp.
        (SENT + 7.9, SENT, 7.5, 0.0),  # Our clock is ahead.
        (SENT + 12.5, SENT, 7.5, 6.0),  # The offset may be only 6.5 s.
        (SENT + 6.3, SENT, 0.3, 6.3),
        (SENT + 3_600.2, SENT, 3_600.0, 0.0),
    ],
)
def test_a_message_s_delay_is_measured_from_its_timestamp(arrival, sent_at, offset, delay):
    assert reply_window.delay(arrival, sent_at, offset) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("attempts", "age", "last", "patience"),
    [
        (1, 0.0, False, 5.0),
        (2, 5.0, False, 5.0),
        (3, 10.0, True, 5.0),
        (1, 8.9, False, 5.0),
        (1, 9.0, True, 5.0),  # Two attempts never arrived.
        (2, 10.0, True, 5.0),
        (1, 12.5, True, 2.5),  # This one also waited in a queue.
        (3, 12.5, True, 2.5),
        (3, 2.0, True, 5.0),  # The others were answered with an error.
        (3, 16.0, True, -1.0),  # WeChat has given up.
    ],
)
def test_patience_is_how_long_wechat_still_waits(attempts, age, last, patience):
    window = Open(first_at=100.0, attempts=attempts, question=QUESTION)
    assert reply_window.is_last(window, 100.0 + age) is last
    assert reply_window.patience(window, 100.0 + age, last=last) == pytest.approx(patience)
