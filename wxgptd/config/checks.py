"""Mistakes in a configuration that parses."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from wxgptd.config import assistants, cluster, rules, site
from wxgptd.config.encodings import decoded
from wxgptd.config.tables import (
    Account,
    Commands,
    Config,
    Price,
    Server,
    chat_command,
    webhook_path,
)
from wxgptd.config.values import NAME, Secret, address_error, parse_http_url, revealed
from wxgptd.domain.intake import phrases
from wxgptd.domain.replies import texts as catalogue
from wxgptd.wording import say

AFTER_EXPIRY = ("auto", "resume", "hint", "ignore")

_EXAMPLE_KEY = base64.b64encode(bytes(32)).decode()


def mistakes(config: Config) -> Iterator[str]:
    """Yield every mistake, each with its key."""
    yield from _check_server(config.server)
    yield from _check_log(config)
    if not config.account:
        yield say("account: at least one [account.NAME] is needed")
    if not config.assistant:
        yield say("assistant: at least one [assistant.NAME] is needed")
    paths: dict[str, str] = {}
    for name, account in config.account.items():
        yield from _check_account(name, account)
        if account.assistant and account.assistant not in config.assistant:
            yield say(
                "account.{name}.assistant: there is no [assistant.{assistant}]",
                name=name,
                assistant=account.assistant,
            )
        path = webhook_path(name, account)
        if path in paths:
            yield say(
                "account.{name}.path: {path} is already used by account.{other}",
                name=name,
                path=path,
                other=paths[path],
            )
        paths[path] = name
    yield from _check_assistants(config)
    yield from site.mistakes(config.site)
    yield from cluster.mistakes(config.cluster)
    yield from rules.mistakes(config)
    yield from _check_commands(config.commands)
    yield from _check_words(config.moderation.words_file)
    yield from _check_numbers(config)
    for name in catalogue.names():
        for fault in catalogue.faults(name, getattr(config.texts, name)):
            yield say("texts.{name}: {fault}", name=name, fault=fault)


def _check_assistants(config: Config) -> Iterator[str]:
    commands: dict[str, str] = {}
    for name, assistant in config.assistant.items():
        yield from assistants.mistakes(name, assistant)
        command = chat_command(name, assistant)
        if command in commands:
            other = f"assistant.{commands[command]}"
            yield say(
                "assistant.{name}.command: {command} is already used by {other}",
                name=name,
                command=command,
                other=other,
            )
        commands[command] = name
        for other in assistant.fallback:
            if other == name:
                yield say("assistant.{name}.fallback: lists itself", name=name)
            elif other not in config.assistant:
                yield say(
                    "assistant.{name}.fallback: there is no [assistant.{other}]",
                    name=name,
                    other=other,
                )
        if assistant.daily_budget and assistant.price_per_million == Price():
            yield say(
                "assistant.{name}.daily_budget: has no effect without price_per_million", name=name
            )


def _check_log(config: Config) -> Iterator[str]:
    log = config.log
    if log.segment_size < 4096:
        yield say("log.segment_size: must be 4KiB or more")
    if log.master_key and not _is_base64_of(revealed(log.master_key, _EXAMPLE_KEY), 32):
        yield say(
            "log.master_key: must be 32 bytes in base64; to create one: (umask 077; head "
            "-c 32 /dev/urandom | base64 -w0 > master.key)"
        )
    if log.snapshot_every < 1:
        yield say("log.snapshot_every: must be 1 or more")
    least_s = max(config.links.ttl, 86_400.0)
    if log.keep is not None and log.keep < least_s:
        yield say(
            "log.keep: must be at least {least_s:g}d (the longer of links.ttl and 1d)",
            least_s=least_s / 86400,
        )
    if log.max_size is not None and log.max_size < 2 * log.segment_size:
        yield say("log.max_size: must be at least twice log.segment_size")


def _check_server(server: Server) -> Iterator[str]:
    if not re.match(r"(?!tcp6?:)[a-z0-9]+:|tcp6?:(.*:)?(port=)?\d+(:|$)", server.listen):
        yield say(
            "server.listen: must be a Twisted server endpoint such as "
            '"tcp:9005:interface=127.0.0.1", not "{listen}"',
            listen=server.listen,
        )
    if server.metrics and not re.match(
        r"tcp6?:(.*:)?(port=)?\d+(:|$)|unix:(address=)?/", server.metrics
    ):
        yield say(
            "server.metrics: must be a Twisted server endpoint such as "
            '"tcp:9006:interface=127.0.0.1", not "{metrics}"',
            metrics=server.metrics,
        )
    for key in ("listen", "metrics"):
        port = re.match(r"(?:tcp|ssl)6?:(?:port=)?(\d+)", getattr(server, key))
        if port is not None and int(port.group(1)) > 65_535:
            yield say(
                "server.{key}: port {port} is out of range, the highest is 65535",
                key=key,
                port=port.group(1),
            )
    yield from _check_addresses(server)
    if server.admin and not server.admin.startswith("unix:/"):
        yield say('server.admin: must be "unix:/PATH", not "{admin}"', admin=server.admin)
    for path in (str(server.state_dir), server.admin):
        if "\0" in path:
            yield say("server.state_dir, server.admin: a path cannot contain a NUL character")
    if server.verify_files is not None and not server.verify_files.is_dir():
        yield say(
            "server.verify_files: {verify_files} is not a readable directory",
            verify_files=server.verify_files,
        )
    for key in ("max_connections", "max_connections_per_address"):
        if getattr(server, key) < 1:
            yield say("server.{key}: must be 1 or more", key=key)


def _check_addresses(server: Server) -> Iterator[str]:
    url = parse_http_url(server.public_url)
    if url is None:
        yield say(
            'server.public_url: {address_error}; for example "https://chat.example.com", '
            'not "{public_url}"',
            address_error=address_error(server.public_url),
            public_url=server.public_url,
        )
    elif url.query or url.fragment or len(server.public_url) > 200:
        yield say(
            "server.public_url: must have no query or fragment and at most 200 "
            "characters, because links begin with it"
        )
    if parse_http_url(server.wechat_api) is None:
        yield say(
            "server.wechat_api: {address_error}", address_error=address_error(server.wechat_api)
        )


def _check_account(name: str, account: Account) -> Iterator[str]:
    where = f"account.{name}"
    if not NAME.fullmatch(name):
        yield say("{where}: a name consists of letters, digits, - and _", where=where)
    if not account.token:
        yield say(
            "{where}.token: is missing; it is the Token that you enter in WeChat's backend",
            where=where,
        )
    elif not re.fullmatch(r"[A-Za-z0-9]{3,32}", revealed(account.token, "abc")):
        yield say(
            "{where}.token: must be 3 to 32 letters and digits, as WeChat requires", where=where
        )
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", account.path):
        yield say(
            '{where}.path: must be like "/wx/{name}", without a trailing slash',
            where=where,
            name=name,
        )
    elif account.path.startswith(("/a/", "/h/", "/healthz", "/readyz", "/static")):
        yield say("{where}.path: {path} is used by wxgptd itself", where=where, path=account.path)
    for key in ("aes_key", "previous_aes_key"):
        secret: Secret = getattr(account, key)
        if secret and not _is_aes_key(revealed(secret, _EXAMPLE_KEY[:43])):
            yield say(
                "{where}.{key}: must be the 43 characters of WeChat's EncodingAESKey",
                where=where,
                key=key,
            )
    if account.aes_key and not account.app_id:
        yield say("{where}.app_id: is required with aes_key", where=where)
    if account.previous_aes_key and not account.aes_key:
        yield say("{where}.aes_key: is required with previous_aes_key", where=where)
    if account.push not in ("auto", "never"):
        yield say(
            '{where}.push: must be "auto" or "never", not "{push}"', where=where, push=account.push
        )
    if account.app_secret and not account.app_id:
        yield say("{where}.app_id: is required with app_secret", where=where)
    if account.welcome:
        for fault in catalogue.faults("welcome", account.welcome):
            yield say("{where}.welcome: {fault}", where=where, fault=fault)


def _is_aes_key(key: str) -> bool:
    return len(key) == 43 and _is_base64_of(f"{key}=", 32)


def _is_base64_of(text: str, size: int) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == size
    except (binascii.Error, ValueError):
        return False


def _check_commands(commands: Commands) -> Iterator[str]:
    meanings: dict[str, str] = {}
    for key, words in commands.words.items():
        for word in words:
            bare = phrases.core(word)
            if word.startswith(("/", "／")):
                yield say(
                    "commands.{key}: write {word} without the slash; it works with the slash too",
                    key=key,
                    word=word,
                )
            elif not bare or len(bare) > phrases.MAX_COMMAND_CHARS:
                most = phrases.MAX_COMMAND_CHARS
                yield say(
                    "commands.{key}: {word!r} must have 1 to {most} characters",
                    key=key,
                    word=word,
                    most=most,
                )
            elif phrases.OFFERED_BY.get(bare, "" if bare in phrases.OFFERED else key) != key:
                yield say(
                    "commands.{key}: {word} has a fixed meaning of its own: remove it",
                    key=key,
                    word=word,
                )
            elif meanings.setdefault(bare, key) != key:
                both = f"commands.{meanings[bare]} and commands.{key}"
                yield say(
                    "commands.{key}: {word} is in {both}: remove it from one of them",
                    key=key,
                    word=word,
                    both=both,
                )


def _check_words(words_file: Path | None) -> Iterator[str]:
    if words_file is None:
        return
    try:
        data = words_file.read_bytes()
    except OSError as error:
        yield say(
            "moderation.words_file: {words_file} cannot be read: {strerror}",
            words_file=words_file,
            strerror=error.strerror,
        )
    except ValueError:
        yield say("moderation.words_file: a path cannot contain a NUL character")
    else:
        try:
            decoded(data)
        except ValueError as error:
            yield say(
                "moderation.words_file: {words_file} {error}", words_file=words_file, error=error
            )


def _check_numbers(config: Config) -> Iterator[str]:
    if config.session.ttl < 1:
        yield say("session.ttl: must be 1s or more")
    if config.session.resume_within < 0:
        yield say("session.resume_within: must be 0s or more")
    if config.session.after_expiry not in AFTER_EXPIRY:
        choices = ", ".join(f'"{choice}"' for choice in AFTER_EXPIRY)
        yield say(
            'session.after_expiry: must be one of {choices}, not "{after_expiry}"',
            choices=choices,
            after_expiry=config.session.after_expiry,
        )
    if config.session.max_context_tokens < 0:
        yield say("session.max_context_tokens: must be 0 (no limit) or more")
    if config.limits.daily_budget < 0:
        yield say("limits.daily_budget: must be 0 (no limit) or more")
    if config.session.max_waiting < 0:
        yield say("session.max_waiting: must be 0 or more")
    if not 0.05 <= config.window.reply_margin <= 4:
        yield say("window.reply_margin: must be from 50ms to 4s")
    if config.window.settled_for < 15:
        yield say("window.settled_for: must be 15s or more, because WeChat retries for that long")
    if config.reply.style not in ("plain", "markdown"):
        yield say(
            'reply.style: must be "plain" or "markdown", not "{style}"', style=config.reply.style
        )
    for key in ("messages_per_minute", "questions_per_day", "tokens_per_day"):
        if getattr(config.limits, key) < 0:
            yield say("limits.{key}: must be 0 (no limit) or more", key=key)
    for host in config.pictures.hosts:
        if not re.fullmatch(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", host):
            yield say(
                'pictures.hosts: must be host names such as "qpic.cn", not "{host}"', host=host
            )
    if config.links.ttl < 60:
        yield say("links.ttl: must be 60s or more")
