"""Why the daemon says nothing to a message: asked of the daemon itself."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from wxgpt import control, options
from wxgptd.errors import WxgptError

if TYPE_CHECKING:
    from wxgpt.peer import Message
    from wxgptd.config import Config

REASONS = {
    "outside": "outside a session, and no rule takes it: /chatgpt opens a session, or set "
    "open_without_command",
    "ignored": "the session has expired, and [session] after_expiry leaves such messages to others",
    "hinted": "the session has expired, and the hint that says so is given once an hour at most",
    "event": "an event that no rule takes",
    "late": "this message was answered before",
    "erased": "it was sent before its user was erased",
    "ask": "a limit refuses it, as a sentence has said less than a minute ago",
    "command": "the user is blocked, as a sentence has said less than a minute ago",
}
"""Why nothing is said, by the name of whose a message is (`wxgptd.domain.routing`)."""


def why(config: Config, account: str | None, user: str, message: Message) -> str | None:
    """Ask the daemon why it said nothing to a text; None if it cannot be asked, or is no text."""
    name, _ = options.pick_account(config, account)
    if isinstance(message, str) or "Content" not in message:
        return None
    path = f"/users/{quote(name, safe='')}/{quote(user, safe='')}/whose"
    try:
        status, said = control.request("POST", path, message["Content"].encode())
    except WxgptError:
        return None
    return str(said["whose"]) if status == 200 else None
