"""The domain's policy, derived from the configuration."""

from __future__ import annotations

from collections.abc import Mapping

from wxgptd.config.tables import Account, Config, chat_command
from wxgptd.domain.model.values import AfterExpiry, AssistantName, Limits, Policy, Style


def chat_commands(config: Config) -> Mapping[str, AssistantName]:
    """Return the assistant that each chat command opens a session with."""
    return {
        chat_command(name, assistant): AssistantName(name)
        for name, assistant in config.assistant.items()
    }


def policy(config: Config, account: Account) -> Policy:
    """Return the policy for messages to `account`."""
    return Policy(
        session_ttl_s=config.session.ttl,
        max_waiting=config.session.max_waiting,
        max_question_bytes=config.session.max_question,
        settled_for_s=config.window.settled_for,
        link_ttl_s=config.links.ttl,
        welcome=bool(account.welcome),
        open_with=AssistantName(
            (account.assistant or next(iter(config.assistant)))
            if account.open_without_command
            else ""
        ),
        models={
            AssistantName(name): assistant.choice
            for name, assistant in config.assistant.items()
            if len(assistant.choice) > 1
        },
        sighted=frozenset(
            AssistantName(name) for name, assistant in config.assistant.items() if assistant.vision
        ),
        style=Style(config.reply.style),
        limits=Limits(
            messages_per_minute=config.limits.messages_per_minute,
            questions_per_day=config.limits.questions_per_day,
            tokens_per_day=config.limits.tokens_per_day,
            only_allowed=config.limits.only_allowed,
        ),
        clear_ends_history=config.links.clear_ends_history,
        resume_within_s=config.session.resume_within,
        after_expiry=_after_expiry(config, account),
    )


def _after_expiry(config: Config, account: Account) -> AfterExpiry:
    if config.session.after_expiry != "auto":
        return AfterExpiry(config.session.after_expiry)
    return AfterExpiry.RESUME if account.open_without_command else AfterExpiry.HINT
