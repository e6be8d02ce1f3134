"""Mistakes in a configuration that parses, and settings that are probably unintended."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from wxgptd.config import cluster, rules, site
from wxgptd.config.encodings import decoded
from wxgptd.config.tables import (
    Account,
    Assistant,
    Commands,
    Config,
    Price,
    Server,
    chat_command,
    webhook_path,
)
from wxgptd.config.values import Secret, UnavailableSecret, address_error, parse_http_url
from wxgptd.domain.intake import phrases
from wxgptd.domain.replies import texts as catalogue

AFTER_EXPIRY = ("auto", "resume", "hint", "ignore")

MAX_TITLE_CHARS = 40

_EXAMPLE_KEY = base64.b64encode(bytes(32)).decode()


def _revealed(secret: Secret, otherwise: str = "") -> str:
    """Return the value of `secret`, or `otherwise` if only the daemon has it."""
    return otherwise if isinstance(secret, UnavailableSecret) else secret.reveal()


def mistakes(config: Config) -> Iterator[str]:
    """Yield every mistake, each with its key."""
    yield from _check_server(config.server)
    yield from _check_log(config)
    if not config.account:
        yield "account: at least one [account.NAME] is needed"
    if not config.assistant:
        yield "assistant: at least one [assistant.NAME] is needed"
    paths: dict[str, str] = {}
    for name, account in config.account.items():
        yield from _check_account(name, account)
        if account.assistant and account.assistant not in config.assistant:
            yield f"account.{name}.assistant: there is no [assistant.{account.assistant}]"
        path = webhook_path(name, account)
        if path in paths:
            yield f"account.{name}.path: {path} is already used by account.{paths[path]}"
        paths[path] = name
    commands: dict[str, str] = {}
    for name, assistant in config.assistant.items():
        yield from _check_assistant(name, assistant)
        command = chat_command(name, assistant)
        if command in commands:
            other = f"assistant.{commands[command]}"
            yield f"assistant.{name}.command: {command} is already used by {other}"
        commands[command] = name
        for other in assistant.fallback:
            if other == name:
                yield f"assistant.{name}.fallback: lists itself"
            elif other not in config.assistant:
                yield f"assistant.{name}.fallback: there is no [assistant.{other}]"
        if assistant.daily_budget and assistant.price_per_million == Price():
            yield f"assistant.{name}.daily_budget: has no effect without price_per_million"
    yield from site.mistakes(config.site)
    yield from cluster.mistakes(config.cluster)
    yield from rules.mistakes(config)
    yield from _check_commands(config.commands)
    yield from _check_words(config.moderation.words_file)
    yield from _check_numbers(config)
    for name in catalogue.names():
        for fault in catalogue.faults(name, getattr(config.texts, name)):
            yield f"texts.{name}: {fault}"


def _check_log(config: Config) -> Iterator[str]:
    log = config.log
    if log.segment_size < 4096:
        yield "log.segment_size: must be 4KiB or more"
    if log.master_key and not _is_base64_of(_revealed(log.master_key, _EXAMPLE_KEY), 32):
        yield (
            "log.master_key: must be 32 bytes in base64; to create one: "
            "(umask 077; head -c 32 /dev/urandom | base64 -w0 > master.key)"
        )
    if log.snapshot_every < 1:
        yield "log.snapshot_every: must be 1 or more"
    least_s = max(config.links.ttl, 86_400.0)
    if log.keep is not None and log.keep < least_s:
        yield f"log.keep: must be at least {least_s / 86_400:g}d (the longer of links.ttl and 1d)"
    if log.max_size is not None and log.max_size < 2 * log.segment_size:
        yield "log.max_size: must be at least twice log.segment_size"


def _check_server(server: Server) -> Iterator[str]:
    if not re.match(r"(?!tcp6?:)[a-z0-9]+:|tcp6?:(.*:)?(port=)?\d+(:|$)", server.listen):
        yield (
            "server.listen: must be a Twisted server endpoint such as "
            f'"tcp:9005:interface=127.0.0.1", not "{server.listen}"'
        )
    if server.metrics and not re.match(
        r"tcp6?:(.*:)?(port=)?\d+(:|$)|unix:(address=)?/", server.metrics
    ):
        yield (
            'server.metrics: must be a Twisted server endpoint such as "tcp:9006:interface='
            f'127.0.0.1", not "{server.metrics}"'
        )
    for key in ("listen", "metrics"):
        port = re.match(r"(?:tcp|ssl)6?:(?:port=)?(\d+)", getattr(server, key))
        if port is not None and int(port.group(1)) > 65_535:
            yield f"server.{key}: port {port.group(1)} is out of range, the highest is 65535"
    url = parse_http_url(server.public_url)
    if url is None:
        yield (
            f"server.public_url: {address_error(server.public_url)}; for example "
            f'"https://chat.example.com", not "{server.public_url}"'
        )
    elif url.query or url.fragment or len(server.public_url) > 200:
        yield (
            "server.public_url: must have no query or fragment and at most 200 characters, "
            "because links begin with it"
        )
    if parse_http_url(server.wechat_api) is None:
        yield f"server.wechat_api: {address_error(server.wechat_api)}"
    if server.admin and not server.admin.startswith("unix:/"):
        yield f'server.admin: must be "unix:/PATH", not "{server.admin}"'
    for path in (str(server.state_dir), server.admin):
        if "\0" in path:
            yield "server.state_dir, server.admin: a path cannot contain a NUL character"
    if server.verify_files is not None and not server.verify_files.is_dir():
        yield f"server.verify_files: {server.verify_files} is not a readable directory"
    for key in ("max_connections", "max_connections_per_address"):
        if getattr(server, key) < 1:
            yield f"server.{key}: must be 1 or more"


_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _check_account(name: str, account: Account) -> Iterator[str]:
    where = f"account.{name}"
    if not _NAME.fullmatch(name):
        yield f"{where}: a name consists of letters, digits, - and _"
    if not account.token:
        yield f"{where}.token: is missing; it is the Token that you enter in WeChat's backend"
    elif not re.fullmatch(r"[A-Za-z0-9]{3,32}", _revealed(account.token, "abc")):
        yield f"{where}.token: must be 3 to 32 letters and digits, as WeChat requires"
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", account.path):
        yield f'{where}.path: must be like "/wx/{name}", without a trailing slash'
    elif account.path.startswith(("/a/", "/h/", "/healthz", "/readyz", "/static")):
        yield f"{where}.path: {account.path} is used by wxgptd itself"
    for key in ("aes_key", "previous_aes_key"):
        secret: Secret = getattr(account, key)
        if secret and not _is_aes_key(_revealed(secret, _EXAMPLE_KEY[:43])):
            yield f"{where}.{key}: must be the 43 characters of WeChat's EncodingAESKey"
    if account.aes_key and not account.app_id:
        yield f"{where}.app_id: is required with aes_key"
    if account.previous_aes_key and not account.aes_key:
        yield f"{where}.aes_key: is required with previous_aes_key"
    if account.push not in ("auto", "never"):
        yield f'{where}.push: must be "auto" or "never", not "{account.push}"'
    if account.app_secret and not account.app_id:
        yield f"{where}.app_id: is required with app_secret"
    if account.welcome:
        for fault in catalogue.faults("welcome", account.welcome):
            yield f"{where}.welcome: {fault}"


def _is_aes_key(key: str) -> bool:
    return len(key) == 43 and _is_base64_of(f"{key}=", 32)


def _is_base64_of(text: str, size: int) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == size
    except (binascii.Error, ValueError):
        return False


def _check_assistant(name: str, assistant: Assistant) -> Iterator[str]:
    where = f"assistant.{name}"
    if not _NAME.fullmatch(name):
        yield f"{where}: a name consists of letters, digits, - and _"
    command = chat_command(name, assistant)
    if not command.startswith("/") or len(command.split()) != 1 or len(command) < 2:
        yield f'{where}.command: must be a single word that begins with a slash, not "{command}"'
    elif command in phrases.RESERVED:
        yield f"{where}.command: {command} is a built-in command"
    title = assistant.title
    if not title.strip() or len(title) > MAX_TITLE_CHARS or not title.isprintable():
        yield f"{where}.title: must have 1 to {MAX_TITLE_CHARS} characters, on one line"
    if not assistant.base_url:
        yield f'{where}.base_url: is missing; for example "https://api.openai.com/v1"'
    elif (address := parse_http_url(assistant.base_url)) is None:
        yield f"{where}.base_url: {address_error(assistant.base_url)}"
    elif address.username is not None:
        yield f"{where}.base_url: must not contain a user name or password; use api_key"
    if not assistant.choice:
        yield f"{where}.model: is missing; it is the provider's name for the model"
    if re.match(r"bearer\s", _revealed(assistant.api_key), re.IGNORECASE):
        yield f"{where}.api_key: begins with Bearer, which wxgptd adds automatically: remove it"
    elif re.search(r"[^\x21-\x7e]", _revealed(assistant.api_key)):
        yield f"{where}.api_key: contains a character that no API key has (a space or a newline?)"
    if assistant.max_tokens < 1:
        yield f"{where}.max_tokens: must be 1 or more"
    yield from _check_request(where, assistant)
    if assistant.fit not in ("off", "window"):
        yield f'{where}.fit: must be "off" or "window", not "{assistant.fit}"'
    for key in ("max_context_tokens", "daily_budget", "max_running"):
        if getattr(assistant, key) < 0:
            yield f"{where}.{key}: must be 0 (none) or more"
    for key in ("input", "output"):
        if getattr(assistant.price_per_million, key) < 0:
            yield f"{where}.price_per_million.{key}: must be 0 or more"
    for key in ("first_text_timeout", "idle_timeout", "total_timeout"):
        if getattr(assistant, key) <= 0:
            yield f"{where}.{key}: must be more than 0"


_OWN_KEYS = frozenset({"model", "messages", "stream"})
_OWN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip


def _proxy_mistakes(where: str, proxy: str) -> Iterator[str]:
    address = parse_http_url(proxy)
    scheme = proxy.partition("://")[0].lower()
    if scheme.startswith("socks"):
        yield (
            f"{where}: SOCKS proxies ({scheme}://) are not supported; give the address of an HTTP "
            "proxy, which most proxy programs offer on a separate port"
        )
    elif address is None or address.scheme != "http":
        yield f"{where}: must be like http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT"


def _check_request(where: str, assistant: Assistant) -> Iterator[str]:
    if assistant.auth not in ("bearer", "api-key"):
        yield f'{where}.auth: must be "bearer" or "api-key" (Azure), not "{assistant.auth}"'
    if assistant.temperature is not None and not 0 <= assistant.temperature <= 2:
        yield f"{where}.temperature: must be from 0 to 2, not {assistant.temperature:g}"
    if assistant.top_p is not None and not 0 < assistant.top_p <= 1:
        yield f"{where}.top_p: must be more than 0 and at most 1, not {assistant.top_p:g}"
    if assistant.seed is not None and assistant.seed != int(assistant.seed):
        yield f"{where}.seed: must be a whole number"
    if assistant.proxy:
        yield from _proxy_mistakes(f"{where}.proxy", _revealed(assistant.proxy, "http://proxy"))
    for name in sorted(_OWN_KEYS & assistant.extra_body.keys()):
        yield f"{where}.extra_body.{name}: is set by wxgptd itself"
    try:
        json.dumps(assistant.extra_body, allow_nan=False)
    except (TypeError, ValueError):
        yield f"{where}.extra_body: contains a date or a number that JSON cannot represent"
    for name, value in assistant.extra_headers.items():
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name) or not re.fullmatch(
            r"[\x20-\x7e]{0,4096}", _revealed(value)
        ):
            yield f"{where}.extra_headers.{name}: needs a valid name and a printable ASCII value"
        elif name.lower() in _OWN_HEADERS:
            yield f"{where}.extra_headers.{name}: is set by wxgptd itself"
        elif name.lower() in ("authorization", "api-key") and assistant.api_key:
            yield f"{where}.extra_headers.{name}: is already set by api_key"
    for model in assistant.choice:
        if model != " ".join(model.split()) or not model:
            yield f"{where}.models: contains a name that users cannot type: {model!r}"
    folded = [model.lower() for model in assistant.choice]
    if len(set(folded)) < len(folded):
        yield f"{where}.models: contains names that differ only in case"


def _check_commands(commands: Commands) -> Iterator[str]:
    meanings: dict[str, str] = {}
    for key, words in commands.words.items():
        for word in words:
            bare = phrases.core(word)
            if word.startswith(("/", "／")):
                yield f"commands.{key}: write {word} without the slash; it works with the slash too"
            elif not bare or len(bare) > phrases.MAX_COMMAND_CHARS:
                most = phrases.MAX_COMMAND_CHARS
                yield f"commands.{key}: {word!r} must have 1 to {most} characters"
            elif phrases.OFFERED_BY.get(bare, "" if bare in phrases.OFFERED else key) != key:
                yield f"commands.{key}: {word} has a fixed meaning of its own: remove it"
            elif meanings.setdefault(bare, key) != key:
                both = f"commands.{meanings[bare]} and commands.{key}"
                yield f"commands.{key}: {word} is in {both}: remove it from one of them"


def _check_words(words_file: Path | None) -> Iterator[str]:
    if words_file is None:
        return
    try:
        data = words_file.read_bytes()
    except OSError as error:
        yield f"moderation.words_file: {words_file} cannot be read: {error.strerror}"
    except ValueError:
        yield "moderation.words_file: a path cannot contain a NUL character"
    else:
        try:
            decoded(data)
        except ValueError as error:
            yield f"moderation.words_file: {words_file} {error}"


def _check_numbers(config: Config) -> Iterator[str]:
    if config.session.ttl < 1:
        yield "session.ttl: must be 1s or more"
    if config.session.resume_within < 0:
        yield "session.resume_within: must be 0s or more"
    if config.session.after_expiry not in AFTER_EXPIRY:
        choices = ", ".join(f'"{choice}"' for choice in AFTER_EXPIRY)
        yield f'session.after_expiry: must be one of {choices}, not "{config.session.after_expiry}"'
    if config.session.max_context_tokens < 0:
        yield "session.max_context_tokens: must be 0 (no limit) or more"
    if config.limits.daily_budget < 0:
        yield "limits.daily_budget: must be 0 (no limit) or more"
    if config.session.max_waiting < 0:
        yield "session.max_waiting: must be 0 or more"
    if not 0.05 <= config.window.reply_margin <= 4:
        yield "window.reply_margin: must be from 50ms to 4s"
    if config.window.settled_for < 15:
        yield "window.settled_for: must be 15s or more, because WeChat retries for that long"
    if config.reply.style not in ("plain", "markdown"):
        yield f'reply.style: must be "plain" or "markdown", not "{config.reply.style}"'
    for key in ("messages_per_minute", "questions_per_day", "tokens_per_day"):
        if getattr(config.limits, key) < 0:
            yield f"limits.{key}: must be 0 (no limit) or more"
    for host in config.pictures.hosts:
        if not re.fullmatch(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", host):
            yield f'pictures.hosts: must be host names such as "qpic.cn", not "{host}"'
    if config.links.ttl < 60:
        yield "links.ttl: must be 60s or more"


def doubts(config: Config) -> Iterator[str]:
    """Yield settings that are valid but probably unintended, each with its key."""
    host = urlsplit(config.server.public_url).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        yield f"server.public_url: no phone can open {config.server.public_url}"
    elif host.endswith("example.com"):
        yield f"server.public_url: {host} is an example, not your domain"
    for name, account in config.account.items():
        if _revealed(account.token) in ("changeThisToken", "3To32LettersAndDigits"):
            yield f"account.{name}.token: is the token from the example, which is public"
        if not account.aes_key:
            yield f"account.{name}.aes_key: without one, messages travel in plain text"
    tokens: dict[str, str] = {}
    for name, account in config.account.items():
        other = tokens.setdefault(_revealed(account.token), name)
        if other != name:
            yield (
                f"account.{name}.token: is the same as account {other}'s, so a request that WeChat "
                "signed for one can be replayed to the other"
            )
    for number, rule in enumerate(config.rule, 1):
        if rule.match == "any" and rule.always:
            yield f"rule.{number}: matches everything, even commands: no user can reach a model"
        elif rule.match == "any" and number < len(config.rule) and not rule.account:
            unreached = [later for later in config.rule[number:] if not later.always]
            if unreached:
                yield f"rule.{number}: matches everything, so the rules after it are never reached"
    if config.limits.daily_budget:
        for name, assistant in config.assistant.items():
            if assistant.price_per_million == Price():
                yield f"assistant.{name}.price_per_million: is 0, so its answers use no budget"
    for name, assistant in config.assistant.items():
        for placeholder in re.findall(r"\{([a-z]+)\}", assistant.system_prompt):
            if placeholder not in ("date", "weekday", "account"):
                yield (
                    f"assistant.{name}.system_prompt: contains {{{placeholder}}}; "
                    "only {date}, {weekday} and {account} are filled in"
                )
        if assistant.fallback and assistant.first_token_within > 12:
            yield f"assistant.{name}.first_token_within: leaves the fallback no time (15 s in all)"
    for name, assistant in config.assistant.items():
        remote = urlsplit(assistant.base_url).scheme == "https"
        if _revealed(assistant.api_key, "key").rstrip(".") in (("", "sk-") if remote else ("sk-",)):
            yield f"assistant.{name}.api_key: is empty or the placeholder from the example"
