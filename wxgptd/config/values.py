"""The types of configuration values: times, sizes, secrets, and how each is written."""

from __future__ import annotations

import re
import stat
import unicodedata
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Literal, NewType
from urllib.parse import SplitResult, urlsplit

import cattrs

from wxgptd.config.encodings import decoded
from wxgptd.errors import WxgptError
from wxgptd.untyped import Given, Table
from wxgptd.wording import Wording, say

Duration = NewType("Duration", float)
"""Seconds; written as a number or as `400ms`, `30s`, `5m`, `2h`, `7d`."""

Size = NewType("Size", int)
"""Bytes; written as a number or as `64KiB`, `64MiB`."""


Words = NewType("Words", tuple[str, ...])
"""A list of strings; a single string needs no brackets."""


OptionalNumber = float | None
"""A number, or None if the key is left out."""

OptionalDuration = Duration | None
"""A time; an empty string means None."""

OptionalSize = Size | None
"""A size; an empty string means None."""

AutoOrNumber = int | Literal["auto"]
"""A number, or `auto`."""

OptionalPath = Path | None
"""A path; an empty string means None."""


Body = NewType("Body", Table)
"""A table that is passed on unchanged."""


NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What accounts and assistants can be called."""


class Secret:
    """A value that never appears in reprs, logs or tracebacks."""

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


class UnavailableSecret(Secret):
    """A secret that is set but unavailable here: systemd passes it to the daemon only."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__("")
        self._name = name

    def reveal(self) -> str:
        """Raise: this process does not have the value.

        Raises:
            SecretUnavailableError: always.
        """
        raise SecretUnavailableError(
            say("the credential {name} is available only to the daemon", name=self._name),
            hint=say("this command needs it: use file:PATH in the configuration instead"),
        )

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnavailableSecret) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)


class SecretUnavailableError(WxgptError):
    """the secret is not available here"""

    exit_status = 4


NO_SECRET = Secret("")


def revealed(secret: Secret, otherwise: str = "") -> str:
    """Return the value of `secret`, or `otherwise` if only the daemon has it."""
    return otherwise if isinstance(secret, UnavailableSecret) else secret.reveal()


MAX_DURATION_S = 10 * 365 * 86_400.0

_UNITS_S = {
    "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0,
    "毫秒": 0.001, "秒": 1.0, "秒钟": 1.0, "分": 60.0, "分钟": 60.0, "小时": 3_600.0,
    "天": 86_400.0,
}  # fmt: skip
_TIME = re.compile(rf"([0-9]{{1,15}}(?:\.[0-9]{{1,9}})?)\s*({'|'.join(_UNITS_S)})")
_UNITS_BYTES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def _strict(kind: type, name: str) -> Given:
    def structure(value: Given, _: object) -> Given:
        if type(value) is not kind:
            raise ValueError(say("must be {name}, not {value!r}", name=name, value=value))
        return value

    return structure


def _duration(value: Given, _: object) -> Duration:
    if type(value) in (int, float) and 0 <= value <= MAX_DURATION_S:
        return Duration(float(value))
    match = _TIME.fullmatch(unicodedata.normalize("NFKC", value)) if type(value) is str else None
    if match is None:
        raise ValueError(
            say("must be a time such as 400ms, 30s, 5m, 2h or 7d, not {value!r}", value=value)
        )
    return Duration(min(float(match.group(1)) * _UNITS_S[match.group(2)], MAX_DURATION_S))


def _size(value: Given, _: object) -> Size:
    if type(value) is int and value > 0:
        return Size(value)
    match = re.fullmatch(r"([0-9]{1,15})\s*(B|KiB|MiB|GiB)?", value) if type(value) is str else None
    if match is None or not int(match.group(1)):
        raise ValueError(say("must be a size such as 16KiB or 64MiB, not {value!r}", value=value))
    return Size(int(match.group(1)) * _UNITS_BYTES[match.group(2) or ""])


def _words(value: Given, _: object) -> Words:
    words = [value] if type(value) is str else value
    if type(words) is not list or any(type(word) is not str for word in words):
        raise ValueError(
            say("must be text in quotes, or a list of such texts, not {value!r}", value=value)
        )
    return Words(tuple(words))


def _number(value: Given, _: object) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise ValueError(say("must be a number, not {value!r}", value=value))
    return float(value)


def _as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _auto_or_number(value: Given, _: object) -> AutoOrNumber:
    if value == "auto" or (type(value) is int and value >= 0):
        return value  # type: ignore[no-any-return]
    raise ValueError(
        say('must be "auto" or a whole number, 0 or more, not {found}', found=_as_toml(value))
    )


def _table(value: Given, _: object) -> Given:
    if type(value) is not dict:
        raise ValueError(say("must be a table such as {{ name = 1 }}"))
    return value


def parse_http_url(text: str) -> SplitResult | None:
    """Return the parts of `text` if it is an http or https address, else None."""
    try:
        url = urlsplit(text)
        host = url.hostname or "%"
        is_web = url.scheme in ("http", "https") and "%" not in host and url.port != 0
    except ValueError:
        return None
    return url if is_web and not re.search(r"[\s\0]", text) else None


def address_error(text: str) -> Wording:
    """Return why `parse_http_url` rejects `text`."""
    if re.search(r"[\s\0]", text):
        return say("has a space or an invisible character in it")
    if wide := re.search(r"[：／．。，]", text):
        return say('has "{wide}" in it, a full-width character: type it in ASCII', wide=wide[0])
    try:
        url = urlsplit(text)
    except ValueError:
        return say("has brackets that do not enclose an IPv6 address, as in http://[::1]:11434/v1")
    if url.scheme not in ("http", "https"):
        return say("must be an address that begins with https:// or http://")
    if "%" in (url.hostname or ""):
        return say(
            "has a % in its host: addresses with a zone, such as fe80::1%eth0, are not supported"
        )
    if not url.hostname:
        return say(
            "names no host after {scheme}:// (an IPv6 address needs brackets around it, as in "
            "http://[::1]:11434/v1)",
            scheme=url.scheme,
        )
    port = url.netloc.rpartition("@")[2].rpartition(":")[2]
    return say('has "{port}" as its port, which must be a number from 1 to 65535', port=port)


def _secret_reader(
    environ: Mapping[str, str], base: Path, *, elsewhere: bool, absolute: bool
) -> Given:
    def structure(value: Given, _: object) -> Secret:
        if type(value) is not str:
            raise ValueError(
                say("must be text in quotes (env:NAME, file:PATH and credential:NAME work too)")
            )
        scheme, _colon, name = value.partition(":")
        match scheme:
            case "env":
                if name not in environ:
                    raise ValueError(
                        say("names the environment variable {name}, which is not set", name=name)
                    )
                return _bare(environ[name], f"the environment variable {name}")
            case "file":
                return _secret_file(_below(base, name, absolute=absolute))
            case "credential":
                directory = environ.get("CREDENTIALS_DIRECTORY")
                if directory is None and elsewhere:
                    return UnavailableSecret(name)
                if directory is None:
                    raise ValueError(
                        say(
                            "names the credential {name}, but systemd passed none (add "
                            "LoadCredential= to the unit)",
                            name=name,
                        )
                    )
                return _secret_file(Path(directory) / name)
            case _:
                return Secret(value, inline=bool(value))

    return structure


def _below(base: Path, name: str, *, absolute: bool) -> Path:
    """Resolve the path `name` against `base`. If `absolute`, reject relative paths."""
    path = base / name
    if absolute and not Path(name).is_absolute():
        raise ValueError(
            say("must be an absolute path, because systemd passes on a copy: {name}", name=name)
        )
    return path


def _secret_file(path: Path) -> Secret:
    try:
        if path.is_dir():
            raise ValueError(say("{path} is a directory, not a file", path=path))
        if path.stat().st_mode & stat.S_IROTH:
            raise ValueError(
                say(
                    "{path} can be read by every user of this machine (fix: chmod 600 {path})",
                    path=path,
                )
            )
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            say("{path} cannot be read: {strerror}", path=path, strerror=error.strerror)
        ) from None
    try:
        text = decoded(data)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    return _bare(text, str(path))


_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "`": "`"}


def _bare(text: str, origin: str) -> Secret:
    """Return the secret read from `origin`, without the newline that editors add.

    Raises:
        ValueError: it is empty, or still has quotes that its file format should have removed.
    """
    text = text.strip("\ufeff \t\r\n")
    if not text:
        raise ValueError(say("{origin} is empty", origin=origin))
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        raise ValueError(
            say(
                "{origin} has quotes around its value: remove them (docker's --env-file does not)",
                origin=origin,
            )
        )
    return Secret(text)


def converter(
    environ: Mapping[str, str], base: Path, *, elsewhere: bool = False, absolute: bool = False
) -> cattrs.Converter:
    """Return the converter from TOML to tables.

    Relative paths are resolved against `base`, or rejected if `absolute`. If `elsewhere`, missing
    credentials become `UnavailableSecret`: systemd passes them to the daemon only.
    """

    def path(value: Given) -> Path:
        return _below(base, _strict(str, "a path in quotes")(value, str), absolute=absolute)

    reader = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    reader.register_structure_hook(str, _strict(str, say("text in quotes")))
    reader.register_structure_hook(int, _strict(int, say("a whole number")))
    reader.register_structure_hook(bool, _strict(bool, say("true or false")))
    reader.register_structure_hook(Duration, _duration)
    reader.register_structure_hook(Size, _size)
    reader.register_structure_hook(
        OptionalDuration, lambda v, t: _duration(v, t) if v != "" else None
    )
    reader.register_structure_hook(OptionalSize, lambda v, t: _size(v, t) if v != "" else None)
    reader.register_structure_hook(Words, _words)
    reader.register_structure_hook(float, _number)
    reader.register_structure_hook(OptionalNumber, _number)
    reader.register_structure_hook(AutoOrNumber, _auto_or_number)
    reader.register_structure_hook(Body, _table)
    reader.register_structure_hook(
        Secret, _secret_reader(environ, base, elsewhere=elsewhere, absolute=absolute)
    )
    reader.register_structure_hook(
        OptionalPath,
        lambda value, _: path(value) if value != "" else None,
    )
    reader.register_structure_hook(Path, lambda value, _: path(value))
    return reader
