"""Turn TOML into one frozen `Config`, or a list of every mistake.

`tables` defines each key and its default, `values` how times, sizes and secrets are written;
`checks` finds the mistakes, and `loading` reads the file. The edges receive the values they need,
never this object.
"""

from __future__ import annotations

from wxgptd.config.changes import changes
from wxgptd.config.checks import mistakes
from wxgptd.config.doubts import doubts
from wxgptd.config.loading import (
    SEARCH_PATH,
    ConfigError,
    is_systemd_credential,
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
    Cluster,
    Commands,
    Config,
    Limits,
    Links,
    Log,
    Moderation,
    Pages,
    Pictures,
    Price,
    Reply,
    Rule,
    RuleReply,
    Server,
    Session,
    Site,
    Window,
    chat_command,
    webhook_path,
)
from wxgptd.config.values import Duration, Secret, Size, UnavailableSecret, Words

__all__ = [
    "SEARCH_PATH",
    "Account",
    "Article",
    "Assistant",
    "Cluster",
    "Commands",
    "Config",
    "ConfigError",
    "Duration",
    "Limits",
    "Links",
    "Log",
    "Moderation",
    "Pages",
    "Pictures",
    "Price",
    "Reply",
    "Rule",
    "RuleReply",
    "Secret",
    "Server",
    "Session",
    "Site",
    "Size",
    "UnavailableSecret",
    "Window",
    "Words",
    "changes",
    "chat_command",
    "chat_commands",
    "compiled_rules",
    "doubts",
    "is_systemd_credential",
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
