"""How a store reaches the reactor's thread, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wxgptd.eventlog.unavailable import StoreUnavailable


class Turns(NamedTuple):
    """How to run functions in the reactor's thread.

    `in_reactor` runs a function there, whichever thread calls it; `soon`, called in the reactor's
    thread, runs one when the current turn is over.
    """

    in_reactor: Callable[[Callable[[], None]], None]
    soon: Callable[[Callable[[], None]], object]


class StoreListener(NamedTuple):
    """The store's callbacks, called in the reactor's thread.

    `on_failure` is called once, when the log can no longer be written; `on_full` whenever the disk
    becomes full, and when there is room again.
    """

    on_failure: Callable[[StoreUnavailable], None]
    on_full: Callable[[bool], None]
