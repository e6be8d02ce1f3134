"""Read a configuration file; report every mistake at once, each with its key."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
from cattrs import Converter, override
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from wxgptd.config.checks import mistakes
from wxgptd.config.encodings import decoded
from wxgptd.config.tables import TABLES, Commands, Config, Log, Server, key_of
from wxgptd.config.values import Secret, converter
from wxgptd.domain.replies import texts as catalogue
from wxgptd.errors import WxgptError
from wxgptd.untyped import Given, Table
from wxgptd.wording import listed, reason, say

T = TypeVar("T")

SEARCH_PATH = (Path("wxgptd.toml"), Path("/etc/wxgptd/wxgptd.toml"))


class ConfigError(WxgptError):
    """the configuration is wrong"""

    exit_status = 4

    def __init__(self, path: Path, faults: list[str], hint: str = "") -> None:
        self.faults = faults
        super().__init__(say("{path}: {faults}", path=path, faults=listed(faults, "; ")), hint=hint)


def load(path: Path, environ: Mapping[str, str] = os.environ, *, elsewhere: bool = False) -> Config:
    """Read and check the configuration at `path`.

    If `elsewhere`, the daemon is another process, and its systemd credentials may be missing.

    Raises:
        ConfigError: the file is invalid; lists every mistake with its key.
    """
    text, mode = _read(path)
    handed_on = is_systemd_credential(path, environ)
    reader = _reader(environ, path.parent, elsewhere=elsewhere, absolute=handed_on)
    shown = Path(path.name) if handed_on else path  # the copy is not the file to edit
    return _checked(_parsed(text, shown), shown, mode, reader)


def read(path: Path) -> str:
    """Return the text of the configuration at `path`, unchecked.

    Raises:
        ConfigError: the file cannot be read or is not text.
    """
    text, _ = _read(path)
    return text


def is_systemd_credential(path: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether `path` is a copy that systemd made for this process."""
    return str(path.parent) == environ.get("CREDENTIALS_DIRECTORY")


def parse(
    text: str,
    path: Path,
    environ: Mapping[str, str] = os.environ,
    *,
    mode: int = 0,
    absolute: bool = False,
    elsewhere: bool = False,
) -> Config:
    """Parse and check a configuration that the caller read from `path`, a file with that `mode`.

    If `elsewhere`, the daemon is another process, and its systemd credentials may be missing.
    Rejects what startup would reject: an unsafe `mode` and, if `absolute` (systemd passes the
    daemon a copy of the file), relative paths.

    Raises:
        ConfigError: the text is invalid; lists every mistake with its key.
    """
    document = _parsed(text.removeprefix("\ufeff"), path)
    return _checked(
        document,
        path,
        mode,
        _reader(environ, path.parent, absolute=absolute, elsewhere=elsewhere),
    )


def _reader(
    environ: Mapping[str, str], base: Path, *, elsewhere: bool = False, absolute: bool = False
) -> Converter:
    """Return the converter from TOML to `Config`; see `values.converter`."""
    reader = converter(environ, base, elsewhere=elsewhere, absolute=absolute)
    structure_commands = make_dict_structure_fn(
        Commands, reader, continue_=override(rename="continue")
    )
    reader.register_structure_hook(Commands, structure_commands)
    return reader


def _checked(document: Table, path: Path, mode: int, reader: Converter) -> Config:
    if isinstance(document.get("rule"), dict):
        raise ConfigError(path, [say("rule: each rule begins with [[rule]], in double brackets")])
    faults: list[str] = []
    try:
        config = reader.structure(document, Config)
    except ClassValidationError as error:
        malformed = sorted(_faults(error, ""))
        faults = [say("{key}: {fault}", key=key, fault=fault) for key, fault in malformed]
        # Check the rest without the malformed keys as well, to report everything at once.
        for key, _ in malformed:
            _remove(document, key.split("."))
        try:
            config = reader.structure(document, Config)
        except ClassValidationError:
            raise ConfigError(path, faults) from None
        reported = tuple(key for key, _ in malformed)
        # A rule that lost a malformed key here would be reported as lacking it.
        reported += tuple(re.sub(r"^(rule\.[0-9]+)\..*", r"\1:", key) for key in reported)
        faults += [fault for fault in mistakes(config) if not fault.startswith(reported)]
    else:
        faults = list(mistakes(config))
    if mode & stat.S_IROTH and any(secret.inline for secret in _secrets(config)):
        faults.append(
            say(
                "contains secrets and can be read by every user of this machine (fix: {fix})",
                fix=f"chmod o= {path}",
            )
        )
    if mode & stat.S_IWOTH:
        fix = f"chmod o-w {path}"
        faults.append(say("can be changed by every user of this machine (fix: {fix})", fix=fix))
    if faults:
        raise ConfigError(path, faults)
    return config


def load_server(path: Path) -> Server:
    """Read only `[server]`: enough to find the log, without resolving secrets.

    Raises:
        ConfigError: the file cannot be read, or `[server]` is invalid.
    """
    return _table(path, "server", Server, {})


def load_log(path: Path, environ: Mapping[str, str] = os.environ) -> Log:
    """Read only `[log]`: enough to read the log, including its master key.

    Raises:
        ConfigError: the file cannot be read, or `[log]` is invalid.
    """
    return _table(path, "log", Log, environ)


def _table(path: Path, name: str, table: type[T], environ: Mapping[str, str]) -> T:
    document = _document(path)
    try:
        return converter(environ, path.parent).structure(document.get(name, {}), table)
    except ClassValidationError as error:
        raise ConfigError(
            path,
            [
                say("{key}: {what}", key=key, what=what)
                for key, what in sorted(_faults(error, name))
            ],
        ) from None


def load_account_names(path: Path) -> tuple[str, ...]:
    """Read only the names of the accounts.

    Raises:
        ConfigError: the file cannot be read.
    """
    document = _document(path)
    accounts = document.get("account", {})
    return tuple(accounts) if isinstance(accounts, dict) else ()


def load_system_prompts(path: Path) -> dict[str, str]:
    """Read only the assistants' system prompts: enough to show what a model is sent.

    Raises:
        ConfigError: the file cannot be read.
    """
    document = _document(path)
    return {
        name: str(assistant.get("system_prompt", ""))
        for name, assistant in document.get("assistant", {}).items()
        if isinstance(assistant, dict)
    }


def _document(path: Path) -> Table:
    text, _ = _read(path)
    return _parsed(text, path)


def _read(path: Path) -> tuple[str, int]:
    """Return the text and the mode of the file at `path`."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return decoded(file.read()), mode
    except PermissionError:
        why = say("cannot be read by this user (use sudo)")
        raise ConfigError(path, [why]) from None
    except OSError as error:
        raise ConfigError(path, [say("cannot be read: {why}", why=error.strerror)]) from None
    except ValueError as error:
        raise ConfigError(path, [reason(error)]) from None


def _parsed(text: str, path: Path) -> Table:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(path, [say("is not TOML: it is nested too deeply")]) from None
    except ValueError as error:  # or a number with thousands of digits
        twice = say(" (it already exists further up: put the keys there)")
        more = twice if "twice" in str(error) else _shown(text, str(error))
        raise ConfigError(path, [say("is not TOML: {error}{more}", error=_where(error), more=more)],
                          hint=say("correct it: wxgpt config edit")) from None  # fmt: skip


def _where(error: ValueError) -> str:
    """Return a parser's message; its place can be said in another language."""
    match = re.fullmatch(
        r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL
    )
    if match is None:
        return str(error)
    what, line, column = match.groups()
    what = _PARSER_WORDS.get(what, what)
    if declared := re.fullmatch(r"Cannot declare (.*) twice", what):
        what = say("Cannot declare {key} twice", key=declared.group(1))
    if line is None:
        return say("{what} (at end of document)", what=what)
    return say("{what} (at line {line}, column {column})", what=what, line=line, column=column)


_PARSER_WORDS: dict[str, str] = {
    words: words
    for words in (
        say("Illegal character '\\n'"),
        say("Invalid value"),
        say("Invalid statement"),
        say("Unterminated string"),
        say("Unclosed array"),
        say("Unclosed inline table"),
        say("Cannot overwrite a value"),
        say("Expected '=' after a key in a key/value pair"),
        say("Expected newline or end of document after a statement"),
        say("Expected ']' at the end of a table declaration"),
    )
}
"""What Python's parser of TOML says most often, so that it can be said in another language."""


def _shown(text: str, error: str) -> str:
    """Return the key on the line that `error` names, and a hint if its punctuation is Chinese."""
    match = re.search(r"line (\d+)", error)
    lines = text.splitlines()
    if match is None or not 1 <= int(match.group(1)) <= len(lines):
        return ""
    line = lines[int(match.group(1)) - 1].strip()
    key = re.match(r"([a-z0-9_]+)\s*[=＝]", line)
    wide = re.search("[＝［］｛｝，＃]", line)
    advice: str = ""
    if re.search("[“”‘’＂＇]", line):
        advice = say(' (quotes must be straight: ")')
    elif wide is not None:
        # Full-width forms are a fixed distance from those of ASCII.
        narrow = chr(ord(wide.group()) - 0xFEE0)
        advice = say(" (type {narrow} instead of {wide})", narrow=narrow, wide=wide.group())
    # Show only known keys: everything else on the line may be a secret.
    known = key is not None and key.group(1) in _KEYS
    return say(": {key} = …{advice}", key=key.group(1), advice=advice) if key and known else advice


_KEYS = frozenset(
    key_of(field.name) for table in TABLES for field in attrs.fields(table)
) | frozenset(catalogue.names())


# Mistakes.


def _remove(document: Table, keys: list[str]) -> None:
    inner: Given = document
    for key in keys[:-1]:
        inner = inner[int(key) - 1] if isinstance(inner, list) else inner.get(key, {})
        if not isinstance(inner, dict | list):
            return
    if isinstance(inner, dict):
        inner.pop(keys[-1], None)
    else:
        inner[int(keys[-1]) - 1] = {}


def _faults(error: BaseException, path: str) -> Iterator[tuple[str, str]]:
    """Yield each mistake in cattrs' tree of errors, with its key."""
    match error:
        case ClassValidationError() | IterableValidationError():
            for inner in error.exceptions:
                yield from _faults(inner, _join(path, inner))
        case ForbiddenExtraKeysError():
            known = (
                [key_of(field.name) for field in attrs.fields(error.cl)]
                if attrs.has(error.cl)
                else (list(catalogue.names()))
            )
            for key in sorted(error.extra_fields):
                similar = difflib.get_close_matches(key, known, 1, cutoff=0.5)
                yield (
                    _dotted(path, key),
                    say("no such key, did you mean `{similar}`?", similar=similar[0])
                    if similar
                    else say("no such key, known: {known}", known=", ".join(known)),
                )
        case TypeError() | AttributeError():
            last = path.rpartition(".")[2]
            inline = path.count(".") > 1
            written = f"{last} = {{ ... }}" if inline else f"[{path}]"
            yield path, say("must be a table, written {written}", written=written)
        case _:
            yield path, reason(error)


def _join(path: str, error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        match note:
            case AttributeValidationNote(name=name):
                return _dotted(path, key_of(name))
            case IterableValidationNote(index=index):
                # List items are counted from 1; tables have names.
                return _dotted(path, str(index + 1 if isinstance(index, int) else index))
    return path


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _secrets(config: Config) -> Iterator[Secret]:
    for account in config.account.values():
        yield from (account.token, account.aes_key, account.previous_aes_key, account.app_secret)
    for assistant in config.assistant.values():
        yield from (assistant.api_key, assistant.proxy, *assistant.extra_headers.values())
    yield config.log.master_key
