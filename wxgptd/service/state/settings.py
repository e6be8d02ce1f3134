"""The operator's configuration, as the service uses it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields

from wxgptd.domain.intake.phrases import Vocabulary
from wxgptd.domain.intake.rules import Rule
from wxgptd.domain.model.values import (
    AccountName,
    AssistantName,
    DeliveryKey,
    LinkHash,
    Policy,
    User,
)
from wxgptd.domain.replies.texts import Texts
from wxgptd.domain.replies.wording import ReplyContext
from wxgptd.pages.serving import Site
from wxgptd.ports.messengers import Messenger
from wxgptd.ports.models import ChatModel, Pictures


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens, in the operator's currency."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what an answer costs."""
        cost = prompt_tokens * self.prompt + completion_tokens * self.completion
        return round(cost / 1e6, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """An assistant that answers a session's questions; `title` is its name for users.

    The assistants in `fallback` answer in its place if it fails, or has not started within
    `first_token_within_s`. `max_context_tokens` limits the prompt, and `max_running` the number of
    answers written at once; 0 means no limit. If `fits_window` is set, the model is asked for
    answers that fit the reply window.
    """

    name: AssistantName
    command: str
    title: str
    model: ChatModel
    system_prompt: str
    vision: bool = False
    fallback: tuple[AssistantName, ...] = ()
    first_token_within_s: float = 0.0
    max_context_tokens: int = 0
    max_tokens: int = 0
    models: tuple[str, ...] = ()
    price: Price = Price()
    daily_budget: float = 0.0
    show_reasoning: bool = False
    max_running: int = 0
    fits_window: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """The settings of one 公众号; an account with a `messenger` can push."""

    policy: Policy
    welcome: str
    rules: tuple[Rule, ...] = ()
    messenger: Messenger | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """How links are made: a token for each delivery, and the URLs that contain it.

    `token` takes the user, the delivery and, if the link was issued before, the hashes of which its
    own is one: an earlier version may have made it. `user` returns the user to whom a token leads,
    or None. `confirmation` returns what a form on a token's page must submit to prove its origin,
    `form_token` the same for a form of a browser with a cookie, which is called `cookie_name` and
    made by `cookie` from a secret and the browser's nonce. `secret` returns the write secret that a
    link in the chat carries, given its token and time, and `issued_at` that time, or 0 for a false
    secret.
    """

    token: Callable[[User, DeliveryKey, Collection[LinkHash]], str]
    user: Callable[[str], User | None]
    hash: Callable[[str], LinkHash]
    answer: Callable[[str], str]
    history: Callable[[str], str]
    confirmation: Callable[[str], str]
    form_token: Callable[[str, str], str]
    cookie_name: Callable[[User], str]
    cookie: Callable[[str, str], str]
    secret: Callable[[str, float], str]
    issued_at: Callable[[str, str], float]

    def answer_in_chat(self, token: str, at: float) -> str:
        """Return the URL of an answer's page for the chat, with a write secret issued at `at`."""
        return f"{self.answer(token)}#{self.secret(token, at)}"

    def history_in_chat(self, token: str, at: float) -> str:
        """Return the URL of a history page for the chat, with a write secret issued at `at`."""
        return f"{self.history(token)}#{self.secret(token, at)}"


@dataclass(slots=True, kw_only=True)
class Settings:
    """The current settings for conversations.

    The whole service shares this one object and copies nothing from it, because a reload replaces
    its entire content at once. `texts` are for the chat, where words can be tapped, `page_texts`
    for pages, where they cannot. `words` act as chat commands; see `phrases.WORDS`.
    """

    accounts: Mapping[AccountName, Account]
    assistants: Mapping[AssistantName, Assistant]
    texts: Texts
    page_texts: Texts
    taps: bool
    pictures: Pictures
    reply_margin_s: float
    deliberate_timeouts_per_5min: int | None
    daily_budget: float
    link_ttl_s: float
    asks_on_pages: bool
    ask_for_s: float
    shows_model: bool
    titles: bool
    site: Site
    words: Mapping[str, Sequence[str]]
    commands: Mapping[str, AssistantName] = field(init=False)
    """Maps each chat command to the assistant that it opens a session with."""
    vocabulary: Vocabulary = field(init=False)
    _reply_contexts: dict[AccountName, ReplyContext] = field(init=False, default_factory=dict)
    """What the texts of each account may refer to; filled on demand."""

    def __post_init__(self) -> None:
        self.commands = {assistant.command: name for name, assistant in self.assistants.items()}
        self.vocabulary = Vocabulary(self.commands, self.words)

    def adopt(self, fresh: Settings) -> None:
        """Replace all settings with those in `fresh`."""
        for attribute in fields(self):
            setattr(self, attribute.name, getattr(fresh, attribute.name))

    def max_running(self, assistant: AssistantName) -> int:
        """Return how many answers an assistant may write at once; 0 means no limit."""
        configured = self.assistants.get(assistant)
        return configured.max_running if configured is not None else 0

    def reply_context(self, user: User) -> ReplyContext:
        """Return what the texts of the user's account may refer to."""
        context = self._reply_contexts.get(user.account)
        if context is None:
            context = self._reply_context(self.account(user))
            if user.account in self.accounts:
                self._reply_contexts[user.account] = context
        return context

    def _reply_context(self, account: Account) -> ReplyContext:
        return ReplyContext(
            commands={name: assistant.command for name, assistant in self.assistants.items()},
            titles={name: assistant.title for name, assistant in self.assistants.items()},
            without_command=bool(account.policy.open_with),
            ttl_s=account.policy.session_ttl_s,
            days=round(account.policy.link_ttl_s / 86_400) or 1,
            welcome=account.welcome,
            taps=self.taps,
            several_models=any(len(assistant.models) > 1 for assistant in self.assistants.values()),
        )

    def account(self, user: User) -> Account:
        """Return the user's account."""
        account = self.accounts.get(user.account)
        # A user of an account that is no longer configured may still have state to settle.
        return account or Account(Policy(), "")
