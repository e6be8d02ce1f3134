"""All parts of a service, once built."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd.service.lifecycle import Lifecycle
from wxgptd.service.wiring.answers import Answers
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.conversation import Conversation
from wxgptd.service.wiring.operations import Operations
from wxgptd.service.wiring.state import State


@dataclass(frozen=True, slots=True)
class Rooms:
    """The parts of a service, lowest first."""

    base: Base
    state: State
    answers: Answers
    conversation: Conversation
    operations: Operations
    lifecycle: Lifecycle
