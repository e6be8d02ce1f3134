"""The configuration: TOML in, one frozen `Config` out, or every mistake at once.

`tables` has each key with its default, `values` says how times, sizes and secrets are written,
`checks` what is wrong, `loading` reads the file. Edges are handed the values they need, never
this object.
"""

from __future__ import annotations

from wxgptd.config.changes import changes
from wxgptd.config.checks import doubts, mistakes
from wxgptd.config.loading import (
    SEARCH_PATH,
    ConfigError,
    is_handed_on,
    load,
    load_account_names,
    load_log,
    load_server,
    load_system_prompts,
    parse,
    read,
)
from wxgptd.config.policies import chat_commands, policy
from wxgptd.config.rules import compiled as compiled_rules
from wxgptd.config.tables import (
    Account,
    Article,
    Assistant,
    Commands,
    Config,
    Limits,
    Links,
    Log,
    Moderation,
    Pictures,
    Price,
    Reply,
    Rule,
    RuleReply,
    Server,
    Session,
    Window,
    chat_command,
    webhook_path,
)
from wxgptd.config.values import Duration, Elsewhere, Secret, Size, Words

__all__ = [
    "SEARCH_PATH",
    "Account",
    "Article",
    "Assistant",
    "Commands",
    "Config",
    "ConfigError",
    "Duration",
    "Elsewhere",
    "Limits",
    "Links",
    "Log",
    "Moderation",
    "Pictures",
    "Price",
    "Reply",
    "Rule",
    "RuleReply",
    "Secret",
    "Server",
    "Session",
    "Size",
    "Window",
    "Words",
    "changes",
    "chat_command",
    "chat_commands",
    "compiled_rules",
    "doubts",
    "is_handed_on",
    "load",
    "load_account_names",
    "load_log",
    "load_server",
    "load_system_prompts",
    "mistakes",
    "parse",
    "policy",
    "read",
    "webhook_path",
]
