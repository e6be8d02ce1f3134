"""Build the operator's control interface on top of all packages."""

from __future__ import annotations

from collections.abc import Callable

from wxgptd.ports.control import Control
from wxgptd.ports.status import DaemonStatus
from wxgptd.service.cluster.node_control import NodeControl
from wxgptd.service.cluster.standing import Standing
from wxgptd.service.operations.maintenance import Maintenance
from wxgptd.service.operations.sessions import Sessions
from wxgptd.service.operations.trials import Trials
from wxgptd.service.operations.users import Users
from wxgptd.service.wiring.rooms import Rooms


def build(rooms: Rooms, status: Callable[[], DaemonStatus], standing: Standing | None) -> Control:
    """Return the control interface that the admin socket serves."""
    state, answers, settings = rooms.state, rooms.answers, rooms.base.settings
    journal, event_clock = state.journal, rooms.base.event_clock
    return Control(
        ready=lambda: rooms.lifecycle.loaded,
        status=status,
        sessions=Sessions(
            journal, state.sessions, answers.flights, answers.answer_runner, event_clock
        ),
        users=Users(
            journal, settings, rooms.conversation.conversations, state.erasing, event_clock
        ),
        trials=Trials(settings),
        maintenance=Maintenance(state.snapshotter, rooms.operations.reloading),
        cluster=NodeControl(standing) if standing is not None else None,
    )
