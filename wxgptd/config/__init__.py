"""The configuration: TOML in, one frozen `Config` out, or every mistake at once.

`tables` has each key with its default, `values` says how times, sizes and secrets are written,
`checks` what is wrong, `loading` reads the file. Edges are handed the values they need, never
this object.
"""

from __future__ import annotations

from wxgptd.config.checks import doubts
from wxgptd.config.loading import (
    SEARCH_PATH,
    ConfigError,
    load,
    load_server,
    load_system_prompts,
)
from wxgptd.config.tables import (
    Account,
    Assistant,
    Config,
    Links,
    Log,
    Server,
    Session,
    Window,
    chat_command,
    webhook_path,
)
from wxgptd.config.values import Duration, Secret, Size

__all__ = [
    "SEARCH_PATH",
    "Account",
    "Assistant",
    "Config",
    "ConfigError",
    "Duration",
    "Links",
    "Log",
    "Secret",
    "Server",
    "Session",
    "Size",
    "Window",
    "chat_command",
    "doubts",
    "load",
    "load_server",
    "load_system_prompts",
    "webhook_path",
]
