"""What the floors above speak to each other through, and the values that pass.

An edge (WeChat, the model, the pages, the control socket) knows these protocols and nobody who
implements them.
"""

from __future__ import annotations

from wxgptd.ports.control import Control
from wxgptd.ports.keys import PassingKeys
from wxgptd.ports.messengers import Delivered, Messenger, Undelivered
from wxgptd.ports.models import Breakdown, ChatModel, Completion, Pictures, Prompt, ignore
from wxgptd.ports.pages import (
    AnswerView,
    Dialogue,
    History,
    HistoryView,
    Library,
    Progress,
    Turn,
)
from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import InThread, Threads
from wxgptd.ports.wechat import Conversations, Forward, Ignore, Outcome, Present, Say, Silence

__all__ = [
    "AnswerView",
    "Breakdown",
    "ChatModel",
    "Completion",
    "Control",
    "Conversations",
    "Delivered",
    "Dialogue",
    "EventStore",
    "Forward",
    "History",
    "HistoryView",
    "Ignore",
    "InThread",
    "Library",
    "Messenger",
    "Outcome",
    "PassingKeys",
    "Pictures",
    "Present",
    "Progress",
    "Prompt",
    "Say",
    "Silence",
    "Threads",
    "Turn",
    "Undelivered",
    "ignore",
]
