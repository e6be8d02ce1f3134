"""The tables of a configuration: every key and its default.

`etc/wxgptd.toml` lists them all, and a test compares the two.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import attrs

from wxgptd.config.values import (
    NO_SECRET,
    AutoOrNumber,
    Body,
    Duration,
    OptionalDuration,
    OptionalNumber,
    OptionalPath,
    OptionalSize,
    Secret,
    Size,
    Words,
)
from wxgptd.domain.intake import phrases
from wxgptd.domain.replies.texts import DEFAULT_TITLE, Texts


@attrs.frozen(kw_only=True)
class Server:
    """`[server]`"""

    listen: str = "tcp:9005:interface=127.0.0.1"
    public_url: str = "http://127.0.0.1:9005"
    state_dir: Path = Path("/var/lib/wxgptd")
    admin: str = ""
    metrics: str = ""
    timestamp_tolerance: Duration = Duration(300.0)
    max_connections: int = 10_000
    max_connections_per_address: int = 500
    wechat_api: str = "https://api.weixin.qq.com"
    verify_files: OptionalPath = None

    @property
    def admin_socket(self) -> Path:
        """The path of the admin socket."""
        return (
            Path(self.admin.removeprefix("unix:"))
            if self.admin
            else (self.state_dir / "admin.sock")
        )


@attrs.frozen(kw_only=True)
class Account:
    """`[account.NAME]`"""

    path: str = ""
    token: Secret = NO_SECRET
    app_id: str = ""
    aes_key: Secret = NO_SECRET
    previous_aes_key: Secret = NO_SECRET
    app_secret: Secret = NO_SECRET
    push: str = "auto"
    welcome: str = ""
    open_without_command: bool = False
    assistant: str = ""


@attrs.frozen(kw_only=True)
class Price:
    """`price_per_million` of an assistant: the price of a million tokens."""

    input: float = 0.0
    output: float = 0.0


@attrs.frozen(kw_only=True)
class Assistant:
    """`[assistant.NAME]`"""

    command: str = ""
    title: str = DEFAULT_TITLE
    base_url: str = ""
    api_key: Secret = NO_SECRET
    auth: str = "bearer"
    model: str = ""
    models: Words = Words(())
    system_prompt: str = ""
    language: str = ""
    vision: bool = False
    max_tokens: int = 4_096
    max_context_tokens: int = 0
    temperature: OptionalNumber = None
    top_p: OptionalNumber = None
    stop: Words = Words(())
    seed: OptionalNumber = None
    extra_body: Body = attrs.field(factory=lambda: Body({}))
    extra_headers: dict[str, Secret] = attrs.field(factory=dict)
    proxy: Secret = NO_SECRET
    first_text_timeout: Duration = Duration(60.0)
    idle_timeout: Duration = Duration(30.0)
    total_timeout: Duration = Duration(120.0)
    fallback: Words = Words(())
    first_token_within: Duration = Duration(6.0)
    max_running: int = 0
    fit: str = "off"
    price_per_million: Price = Price()
    daily_budget: float = 0.0
    show_reasoning: bool = False

    @property
    def choice(self) -> tuple[str, ...]:
        """The models that a user may choose from; the first one is the default."""
        return tuple(dict.fromkeys((self.model, *self.models) if self.model else self.models))


@attrs.frozen(kw_only=True)
class Article:
    """One article of `news` in a rule's reply."""

    title: str = ""
    description: str = ""
    picture: str = ""
    url: str = ""


@attrs.frozen(kw_only=True)
class RuleReply:
    """A rule's `reply`: one of text, image, voice, video, music and news, with its details.

    Pictures, voice messages, videos and covers are given by the media_id that WeChat assigned.
    """

    text: str = ""
    image: str = ""
    voice: str = ""
    video: str = ""
    music: str = ""
    news: tuple[Article, ...] = ()
    title: str = ""
    description: str = ""
    cover: str = ""


@attrs.frozen(kw_only=True)
class Rule:
    """`[[rule]]`"""

    match: str = ""
    words: Words = Words(())
    pattern: str = ""
    account: Words = Words(())
    always: bool = False
    reply: RuleReply = RuleReply()
    forward: str = ""


@attrs.frozen(kw_only=True)
class Session:
    """`[session]`"""

    ttl: Duration = Duration(300.0)
    max_waiting: int = 2
    max_context_tokens: int = 0
    max_question: Size = Size(16 * 1024)
    resume_within: Duration = Duration(86_400.0)
    after_expiry: str = "auto"


@attrs.frozen(kw_only=True)
class Commands:
    """`[commands]`; see `phrases.WORDS`."""

    help: Words = Words(phrases.WORDS["help"])
    stop: Words = Words(phrases.WORDS["stop"])
    end: Words = Words(phrases.WORDS["end"])
    clear: Words = Words(phrases.WORDS["clear"])
    history: Words = Words(phrases.WORDS["history"])
    model: Words = Words(phrases.WORDS["model"])
    retry: Words = Words(phrases.WORDS["retry"])
    continue_: Words = Words(phrases.WORDS["continue"])

    @property
    def words(self) -> Mapping[str, Words]:
        """The words of each key."""
        return {key_of(field.name): getattr(self, field.name) for field in attrs.fields(type(self))}


def key_of(name: str) -> str:
    """Return the key of the field `name`, which ends in _ if the key is a Python keyword."""
    return name.removesuffix("_")


@attrs.frozen(kw_only=True)
class Window:
    """`[window]`"""

    reply_margin: Duration = Duration(0.4)
    settled_for: Duration = Duration(60.0)
    deliberate_timeouts_per_5min: AutoOrNumber = "auto"


@attrs.frozen(kw_only=True)
class Reply:
    """`[reply]`"""

    style: str = "plain"
    taps: bool = True


@attrs.frozen(kw_only=True)
class Limits:
    """`[limits]`"""

    messages_per_minute: int = 0
    questions_per_day: int = 0
    tokens_per_day: int = 0
    only_allowed: bool = False
    daily_budget: float = 0.0


@attrs.frozen(kw_only=True)
class Moderation:
    """`[moderation]`"""

    words_file: OptionalPath = None


@attrs.frozen(kw_only=True)
class Pictures:
    """`[pictures]`"""

    hosts: Words = Words(("qpic.cn", "qlogo.cn"))
    max_size: Size = Size(5 * 1024 * 1024)


@attrs.frozen(kw_only=True)
class Links:
    """`[links]`"""

    ttl: Duration = Duration(7 * 86_400.0)
    clear_ends_history: bool = True


@attrs.frozen(kw_only=True)
class Pages:
    """`[pages]`"""

    ask: bool = True
    ask_for: Duration = Duration(86_400.0)
    show_model: bool = False
    titles: bool = False


@attrs.frozen(kw_only=True)
class Site:
    """`[site]`"""

    name: str = ""
    about: str = ""
    qr_code: OptionalPath = None
    icp: str = ""
    police: str = ""
    contact: str = ""
    links: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Log:
    """`[log]`"""

    segment_size: Size = Size(64 * 1024 * 1024)
    snapshot_every: int = 100_000
    keep: OptionalDuration = None
    max_size: OptionalSize = None
    master_key: Secret = NO_SECRET


@attrs.frozen(kw_only=True)
class Cluster:
    """`[cluster]`; without a name, the daemon is alone."""

    name: str = ""
    node: str = ""
    servers: Words = Words(())
    credentials: Secret = NO_SECRET
    ca: OptionalPath = None
    url: str = ""
    dead_after: Duration = Duration(2.0)
    keep: Duration = Duration(7 * 86_400.0)

    @property
    def own_name(self) -> str:
        """The node's name; by default that of the machine."""
        return self.node or socket.gethostname().partition(".")[0]


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration."""

    server: Server = Server()
    account: dict[str, Account] = attrs.field(factory=dict)
    assistant: dict[str, Assistant] = attrs.field(factory=dict)
    rule: tuple[Rule, ...] = ()
    session: Session = Session()
    commands: Commands = Commands()
    window: Window = Window()
    reply: Reply = Reply()
    limits: Limits = Limits()
    moderation: Moderation = Moderation()
    pictures: Pictures = Pictures()
    links: Links = Links()
    pages: Pages = Pages()
    site: Site = Site()
    log: Log = Log()
    cluster: Cluster = Cluster()
    texts: Texts = attrs.field(factory=Texts)


TABLES = (
    Config, Server, Account, Assistant, Price, Rule, RuleReply, Article, Session, Commands, Window,
    Reply, Limits, Moderation, Pictures, Links, Pages, Site, Log, Cluster,
)  # fmt: skip
"""Every table."""


def webhook_path(name: str, account: Account) -> str:
    """Return the path that WeChat posts the account's messages to."""
    return account.path or f"/wx/{name}"


def chat_command(name: str, assistant: Assistant) -> str:
    """Return the lower-case chat command that opens a session with the assistant."""
    return (assistant.command or f"/{name}").lower()
