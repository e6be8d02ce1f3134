"""Whether new work is accepted, and which messages were turned away.

Nothing about a rejected message is recorded: on a full disk there is no room, and on an overloaded
machine that would cost more than an answer is worth. If the reply is lost, WeChat delivers the
message again, perhaps when there is room. It gets the same reply: a user never reads two different
replies to one message. In memory only; a crash forgets it.
"""

from __future__ import annotations

from collections.abc import Callable

from wxgptd.domain.intake.routing import RejectionReason
from wxgptd.domain.model.reply_window import OVER_AFTER_S
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.service.conversation.attempt import Attempt


class Admission:
    """Decides whether new work is accepted; remembers rejections until WeChat's last attempt.

    `disk_full` and `overloaded` are asked when a message arrives; `note_overload` is called for
    each message that is rejected because of overload.
    """

    def __init__(
        self,
        disk_full: Callable[[], bool],
        overloaded: Callable[[], bool],
        note_overload: Callable[[], None],
    ) -> None:
        self._disk_full = disk_full
        self._overloaded = overloaded
        self._note_overload = note_overload
        self._rejected: dict[tuple[User, DeliveryKey], tuple[float, RejectionReason]] = {}

    def rejection(self) -> RejectionReason | None:
        """Return why new work that has just arrived is not accepted, or None if it is."""
        if self._overloaded():
            return RejectionReason.OVERLOADED
        return RejectionReason.DISK_FULL if self._disk_full() else None

    def note(self, attempt: Attempt, why: RejectionReason) -> None:
        """Remember that a message was rejected."""
        rejected = self._rejected
        while rejected and next(iter(rejected.values()))[0] <= attempt.at:
            del rejected[next(iter(rejected))]
        rejected[attempt.user, attempt.delivery] = attempt.at + OVER_AFTER_S, why
        if why is RejectionReason.OVERLOADED:
            self._note_overload()

    def rejected_before(self, attempt: Attempt) -> RejectionReason | None:
        """Return why an earlier attempt of this message was rejected, or None if none was."""
        if not self._rejected:
            return None
        until, why = self._rejected.get((attempt.user, attempt.delivery), (0.0, None))
        return why if until > attempt.at else None
