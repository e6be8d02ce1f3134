"""The configuration: TOML in, one frozen `Config` out, or every mistake at once.

Each key has its default here; `etc/wxgptd.toml` shows them all, and a test compares the two.
Edges are handed the values they need, never this object.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NewType
from urllib.parse import SplitResult, urlsplit

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)

from wxgptd.domain import slash
from wxgptd.domain import texts as catalogue
from wxgptd.domain.texts import Texts
from wxgptd.errors import WxgptError

Duration = NewType("Duration", float)
"""Seconds; written as a number of them or as `400ms`, `30s`, `5m`, `2h`, `7d`."""

Size = NewType("Size", int)
"""Bytes; written as a number of them or as `64KiB`, `64MiB`."""

SEARCH_PATH = (Path("wxgptd.toml"), Path("/etc/wxgptd/wxgptd.toml"))


class ConfigError(WxgptError):
    """the configuration is wrong"""

    exit_status = 4

    def __init__(self, path: Path, faults: list[str]) -> None:
        self.faults = faults
        super().__init__(f"{path}: " + "; ".join(faults))


class Secret:
    """A value that does not show in reprs, logs or tracebacks."""

    __slots__ = ("_value", "inline")

    def __init__(self, value: str, *, inline: bool = False) -> None:
        self._value = value
        self.inline = inline

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "***"


NO_SECRET = Secret("")


@attrs.frozen(kw_only=True)
class Server:
    """`[server]`"""

    listen: str = "tcp:9005:interface=127.0.0.1"
    public_url: str = "http://127.0.0.1:9005"
    state_dir: Path = Path("/var/lib/wxgptd")
    admin: str = ""
    timestamp_tolerance: Duration = Duration(300.0)
    max_connections: int = 10_000
    max_connections_per_address: int = 500

    @property
    def admin_socket(self) -> Path:
        """Where the control socket is."""
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
    welcome: str = ""
    open_without_command: bool = False
    assistant: str = ""


@attrs.frozen(kw_only=True)
class Assistant:
    """`[assistant.NAME]`"""

    command: str = ""
    base_url: str = ""
    api_key: Secret = NO_SECRET
    model: str = ""
    system_prompt: str = ""
    max_tokens: int = 4_096
    first_text_timeout: Duration = Duration(60.0)
    idle_timeout: Duration = Duration(30.0)
    total_timeout: Duration = Duration(120.0)


@attrs.frozen(kw_only=True)
class Session:
    """`[session]`"""

    ttl: Duration = Duration(300.0)
    max_waiting: int = 2
    max_question: Size = Size(16 * 1024)


@attrs.frozen(kw_only=True)
class Window:
    """`[window]`"""

    reply_margin: Duration = Duration(0.4)
    settled_for: Duration = Duration(60.0)
    deliberate_timeouts_per_5min: int = 60


@attrs.frozen(kw_only=True)
class Links:
    """`[links]`"""

    ttl: Duration = Duration(7 * 86_400.0)


@attrs.frozen(kw_only=True)
class Log:
    """`[log]`"""

    segment_size: Size = Size(64 * 1024 * 1024)


@attrs.frozen(kw_only=True)
class Config:
    """All of it."""

    server: Server = Server()
    account: dict[str, Account] = attrs.field(factory=dict)
    assistant: dict[str, Assistant] = attrs.field(factory=dict)
    session: Session = Session()
    window: Window = Window()
    links: Links = Links()
    log: Log = Log()
    texts: Texts = attrs.field(factory=Texts)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check the configuration at `path`.

    Raises:
        ConfigError: with every mistake, each with its key.
    """
    document, mode = _read(path)
    converter = _converter(environ, path.parent)
    faults: list[str] = []
    try:
        config = converter.structure(document, Config)
    except ClassValidationError as error:
        malformed = sorted(_faults(error, ""))
        faults = [f"{key}: {what}" for key, what in malformed]
        # What is left without the malformed keys is checked as well, to say all at once.
        for key, _ in malformed:
            _remove(document, key.split("."))
        try:
            config = converter.structure(document, Config)
        except ClassValidationError:
            raise ConfigError(path, faults) from None
        known = tuple(key for key, _ in malformed)
        faults += [fault for fault in _check(config) if not fault.startswith(known)]
    else:
        faults = list(_check(config))
    if mode & stat.S_IROTH and any(secret.inline for secret in _secrets(config)):
        faults.append(
            "has secrets in it and can be read by every user of this machine "
            f"(fix: chmod o= {path})"
        )
    if faults:
        raise ConfigError(path, faults)
    return config


def load_server(path: Path) -> Server:
    """Read only `[server]`: enough to find the log, with no secret resolved.

    Raises:
        ConfigError: the file cannot be read, or `[server]` is wrong.
    """
    document, _ = _read(path)
    try:
        return _converter({}, path.parent).structure(document.get("server", {}), Server)
    except ClassValidationError as error:
        raise ConfigError(
            path, [f"{key}: {what}" for key, what in sorted(_faults(error, "server"))]
        ) from None


def load_system_prompts(path: Path) -> dict[str, str]:
    """Read only the assistants' system prompts: enough to tell what a model would be told.

    Raises:
        ConfigError: the file cannot be read.
    """
    document, _ = _read(path)
    return {
        name: str(one.get("system_prompt", ""))
        for name, one in document.get("assistant", {}).items()
        if isinstance(one, dict)
    }


def _read(path: Path) -> tuple[dict[str, Any], int]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode("utf-8-sig")  # some editors begin a file with a mark
    except PermissionError:
        why = "may not be read by this user (use sudo; for the daemon: chgrp wxgptd, chmod 640)"
        raise ConfigError(path, [why]) from None
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"is not UTF-8: {error}"]) from None
    try:
        return tomllib.loads(text), mode
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, [f"is not TOML: {error}{_shown(text, str(error))}"]) from None


def _shown(text: str, error: str) -> str:
    """Return the line that `error` speaks of, and what is wrong with it if that is plain."""
    match = re.search(r"line (\d+)", error)
    lines = text.splitlines()
    if match is None or not 1 <= int(match.group(1)) <= len(lines):
        return ""
    line = lines[int(match.group(1)) - 1].strip()
    key, equals, _ = line.partition("=")
    curly = ' (quotes must be straight: ")' if re.search("[“”‘’＂]", line) else ""
    # Only the key: what stands behind it may be a secret.
    return f": {key.strip()} = …{curly}" if equals else curly


# Values.

MAX_DURATION_S = 10 * 365 * 86_400.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_UNITS_BYTES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _strict(kind: type, name: str) -> Any:  # noqa: ANN401 (cattrs hooks take and give anything)
    def structure(value: Any, _: object) -> Any:  # noqa: ANN401
        if type(value) is not kind:
            raise ValueError(f"must be {name}, not {value!r}")
        return value

    return structure


def _duration(value: Any, _: object) -> Duration:  # noqa: ANN401
    if type(value) in (int, float) and 0 <= value <= MAX_DURATION_S:
        return Duration(float(value))
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value) if type(value) is str else None
    if match is None:
        raise ValueError(f"must be a time such as 400ms, 30s, 5m, 2h or 7d, not {value!r}")
    return Duration(min(float(match.group(1)) * _UNITS_S[match.group(2)], MAX_DURATION_S))


def _size(value: Any, _: object) -> Size:  # noqa: ANN401
    if type(value) is int and value > 0:
        return Size(value)
    match = re.fullmatch(r"(\d+)\s*(B|KiB|MiB|GiB)?", value) if type(value) is str else None
    if match is None or match.group(1) == "0":
        raise ValueError(f"must be a size such as 16KiB or 64MiB, not {value!r}")
    return Size(int(match.group(1)) * _UNITS_BYTES[match.group(2) or ""])


def _secret_reader(environ: Mapping[str, str], base: Path) -> Any:  # noqa: ANN401
    def structure(value: Any, _: object) -> Secret:  # noqa: ANN401
        if type(value) is not str:
            raise ValueError("must be a text (env:NAME, file:PATH and credential:NAME work too)")
        scheme, _colon, name = value.partition(":")
        match scheme:
            case "env":
                if name not in environ:
                    raise ValueError(f"names the environment variable {name}, which is not set")
                return Secret(environ[name])
            case "file":
                return _secret_file(base / name)
            case "credential":
                directory = environ.get("CREDENTIALS_DIRECTORY")
                if directory is None:
                    raise ValueError(
                        f"names the credential {name}, but systemd passed none "
                        "(add LoadCredential= to the unit)"
                    )
                return _secret_file(Path(directory) / name)
            case _:
                return Secret(value, inline=bool(value))

    return structure


def _secret_file(path: Path) -> Secret:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ValueError(f"{path} can be read by every user of this machine (chmod 600 it)")
        return Secret(path.read_text("utf-8").strip())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _converter(environ: Mapping[str, str], base: Path) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(str, "a text in quotes"))
    converter.register_structure_hook(int, _strict(int, "a whole number"))
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(Duration, _duration)
    converter.register_structure_hook(Size, _size)
    converter.register_structure_hook(Secret, _secret_reader(environ, base))
    converter.register_structure_hook(
        Path, lambda value, _: base / _strict(str, "a path in quotes")(value, str)
    )
    return converter


# Mistakes.


def _remove(document: dict[str, Any], keys: list[str]) -> None:
    for key in keys[:-1]:
        document = document.get(key, {})
        if not isinstance(document, dict):
            return
    document.pop(keys[-1], None)


def _faults(error: BaseException, path: str) -> Iterator[tuple[str, str]]:
    """Yield each mistake in the tree of errors that cattrs raises, with its key."""
    match error:
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from _faults(inner, _join(path, inner))
        case ForbiddenExtraKeysError():
            known = (
                [field.name for field in attrs.fields(error.cl)]
                if attrs.has(error.cl)
                else (list(catalogue.names()))
            )
            for key in sorted(error.extra_fields):
                near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
                guess = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
                yield _dotted(path, key), f"no such key, {guess}"
        case TypeError() | AttributeError():
            yield path, f"must be a table, written [{path}]"
        case _:
            yield path, str(error)


def _join(path: str, error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        match note:
            case AttributeValidationNote(name=name):
                return _dotted(path, name)
            case IterableValidationNote(index=index):
                return _dotted(path, str(index))
    return path


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _secrets(config: Config) -> Iterator[Secret]:
    for account in config.account.values():
        yield from (account.token, account.aes_key, account.previous_aes_key)
    for assistant in config.assistant.values():
        yield assistant.api_key


def _check(config: Config) -> Iterator[str]:
    yield from _check_server(config.server)
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
            yield f"account.{name}.path: {path} is account.{paths[path]}'s already"
        paths[path] = name
    commands: dict[str, str] = {}
    for name, assistant in config.assistant.items():
        yield from _check_assistant(name, assistant)
        command = chat_command(name, assistant)
        if command in commands:
            yield f"assistant.{name}.command: {command} is assistant.{commands[command]}'s already"
        commands[command] = name
    yield from _check_numbers(config)
    for name in catalogue.names():
        for fault in catalogue.faults(name, getattr(config.texts, name)):
            yield f"texts.{name}: {fault}"


def _check_server(server: Server) -> Iterator[str]:
    if not re.match(r"[a-z0-9]+:", server.listen):
        yield (
            "server.listen: must be a Twisted server endpoint such as "
            f'"tcp:9005:interface=127.0.0.1", not "{server.listen}"'
        )
    port = re.match(r"(?:tcp|ssl)6?:(?:port=)?(\d+)", server.listen)
    if port is not None and int(port.group(1)) > 65_535:
        yield f"server.listen: there is no port {port.group(1)}, they end at 65535"
    url = _web_address(server.public_url)
    if url is None:
        yield (
            "server.public_url: must begin with https:// or http://, such as "
            f'"https://chat.example.com", not "{server.public_url}"'
        )
    elif url.query or url.fragment or len(server.public_url) > 200:
        yield "server.public_url: must be short and without a query, links are built on it"
    if server.admin and not server.admin.startswith("unix:/"):
        yield f'server.admin: must be "unix:/PATH", not "{server.admin}"'
    for path in (str(server.state_dir), server.admin):
        if "\0" in path:
            yield "server.state_dir, server.admin: no path has a NUL character in it"
    for key in ("max_connections", "max_connections_per_address"):
        if getattr(server, key) < 1:
            yield f"server.{key}: must be 1 or more"


def _web_address(text: str) -> SplitResult | None:
    """Return the parts of `text` if it is the address of something on the web."""
    try:
        url = urlsplit(text)
        known = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        return None
    return url if known and not re.search(r"[\s\0]", text) else None


_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _check_account(name: str, account: Account) -> Iterator[str]:
    where = f"account.{name}"
    if not _NAME.fullmatch(name):
        yield f"{where}: a name consists of letters, digits, - and _"
    if not account.token:
        yield f"{where}.token: is missing; it is the Token you enter in WeChat's backend"
    elif not re.fullmatch(r"[A-Za-z0-9]{3,32}", account.token.reveal()):
        yield f"{where}.token: must be 3 to 32 letters and digits, as WeChat's backend demands"
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", account.path):
        yield f'{where}.path: must be like "/wx/{name}", with no slash at the end'
    elif account.path.startswith(("/a/", "/h/", "/healthz", "/readyz", "/static")):
        yield f"{where}.path: {account.path} is used by wxgptd itself"
    for key in ("aes_key", "previous_aes_key"):
        secret: Secret = getattr(account, key)
        if secret and not _is_aes_key(secret.reveal()):
            yield f"{where}.{key}: must be the 43 characters of WeChat's EncodingAESKey"
    if account.aes_key and not account.app_id:
        yield f"{where}.app_id: is needed beside aes_key"
    if account.previous_aes_key and not account.aes_key:
        yield f"{where}.aes_key: is needed beside previous_aes_key"
    if account.welcome:
        for fault in catalogue.faults("welcome", account.welcome):
            yield f"{where}.welcome: {fault}"


def _is_aes_key(key: str) -> bool:
    try:
        return len(key) == 43 and len(base64.b64decode(f"{key}=", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def _check_assistant(name: str, assistant: Assistant) -> Iterator[str]:
    where = f"assistant.{name}"
    if not _NAME.fullmatch(name):
        yield f"{where}: a name consists of letters, digits, - and _"
    command = chat_command(name, assistant)
    if not command.startswith("/") or len(command.split()) != 1 or len(command) < 2:
        yield f'{where}.command: must be one word that begins with a slash, not "{command}"'
    elif command in slash.RESERVED_WORDS:
        yield f"{where}.command: {command} has a meaning of its own already"
    if not assistant.base_url:
        yield f'{where}.base_url: is missing; for example "https://api.openai.com/v1"'
    elif _web_address(assistant.base_url) is None:
        yield f"{where}.base_url: must be an address that begins with https:// or http://"
    if not assistant.model:
        yield f"{where}.model: is missing; it is the name the provider gives the model"
    if re.search(r"[^\x21-\x7e]", assistant.api_key.reveal()):
        yield f"{where}.api_key: has a character that no API key has (a space or a line end?)"
    if assistant.max_tokens < 1:
        yield f"{where}.max_tokens: must be 1 or more"
    for key in ("first_text_timeout", "idle_timeout", "total_timeout"):
        if getattr(assistant, key) <= 0:
            yield f"{where}.{key}: must be more than 0"


def _check_numbers(config: Config) -> Iterator[str]:
    if config.session.ttl < 1:
        yield "session.ttl: must be 1s or more"
    if config.session.max_waiting < 0:
        yield "session.max_waiting: must be 0 or more"
    if not 0.05 <= config.window.reply_margin <= 4:
        yield "window.reply_margin: must be from 50ms to 4s"
    if config.window.settled_for < 15:
        yield "window.settled_for: must be 15s or more, WeChat asks for so long"
    if config.window.deliberate_timeouts_per_5min < 0:
        yield "window.deliberate_timeouts_per_5min: must be 0 or more"
    if config.links.ttl < 60:
        yield "links.ttl: must be 60s or more"
    if config.log.segment_size < 4096:
        yield "log.segment_size: must be 4KiB or more"


def webhook_path(name: str, account: Account) -> str:
    """Return the path that WeChat posts the account's messages to."""
    return account.path or f"/wx/{name}"


def chat_command(name: str, assistant: Assistant) -> str:
    """Return the lower-case chat command that opens a session with the assistant."""
    return (assistant.command or f"/{name}").lower()


def doubts(config: Config) -> Iterator[str]:
    """Yield what is allowed, but hardly meant."""
    host = urlsplit(config.server.public_url).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        yield f"server.public_url: no phone can open {config.server.public_url}"
    elif host.endswith("example.com"):
        yield f"server.public_url: {host} is an example, not your domain"
    for name, account in config.account.items():
        if account.token.reveal() in ("changeThisToken", "3To32LettersAndDigits"):
            yield f"account.{name}.token: is the one from the example, which everybody knows"
        if not account.aes_key:
            yield f"account.{name}.aes_key: without one, messages travel in plain text"
    for name, one in config.assistant.items():
        remote = urlsplit(one.base_url).scheme == "https"
        if one.api_key.reveal().rstrip(".") in (("", "sk-") if remote else ("sk-",)):
            yield f"assistant.{name}.api_key: is empty or the one from the example"
