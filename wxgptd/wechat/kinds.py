"""WeChat's kinds of messages and events, from wechatpy's two tables.

Importing wechatpy also imports its HTTP client, requests, and 170 other modules, none of which are
used here. So the two modules are imported under a stub of the package, whose own `__init__` never
runs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from wxgptd.untyped import JsonView

_TABLES = "wechatpy.messages", "wechatpy.events"

Kinds = JsonView
"""Maps a kind to a class that takes a message's fields and has its content as attributes."""


def _tables() -> tuple[Kinds, Kinds]:
    """Return wechatpy's tables, and remove every trace of the import."""
    before = set(sys.modules)
    if "wechatpy" not in before:
        spec = find_spec("wechatpy")
        assert spec is not None
        package = ModuleType("wechatpy")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["wechatpy"] = package
    try:
        messages, events = map(import_module, _TABLES)
        return messages.MESSAGE_TYPES, events.EVENT_TYPES
    finally:
        for name in [module for module in sys.modules if module.split(".")[0] == "wechatpy"]:
            if name not in before:
                del sys.modules[name]


MESSAGES, EVENTS = _tables()
