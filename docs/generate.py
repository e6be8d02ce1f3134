"""Write what is made of the code: the configuration reference and the manual pages.

    python docs/generate.py            (or: make docs)

The reference is made of the tables in `wxgptd.config` (keys, kinds, defaults) and of what is said
about each key in `etc/wxgptd.toml`; the manual pages are made of the commands. A test compares
what is here with what this would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import attrs
import click
from click_man.core import generate_man_page

from wxgpt.main import COMMANDS, cli
from wxgptd import __version__, config
from wxgptd.config.tables import key_of
from wxgptd.config.values import AutoOrNumber
from wxgptd.domain.replies import texts
from wxgptd.service.operations.reloading import TAKES_RESTART

ROOT = Path(__file__).parent.parent
EXAMPLE = (ROOT / "etc" / "wxgptd.toml").read_text("utf-8")


class Language(NamedTuple):
    """What the reference is written in."""

    path: str
    title: str
    opening: str
    head: str
    restart: str
    required: str
    kinds: dict[str, str]
    texts: str
    texts_head: str
    rules: dict[str, str]


ENGLISH = Language(
    "docs/configuration.md",
    "Configuration",
    "Made of the code by `make docs`; [etc/wxgptd.toml](../etc/wxgptd.toml) has every key at its\n"
    "default, to be copied. `wxgpt check` finds every mistake, `wxgpt check --effective` shows each\n"
    "value and where it comes from. `systemctl reload wxgptd` takes up changes, but for the keys\n"
    "marked ↻: they take a restart.\n\n"
    "A *time* is written `400ms`, `30s`, `5m`, `2h` or `7d`; a *size* `16KiB` or `64MiB`; a *secret*\n"
    "may be given as itself, or as `env:NAME`, `file:PATH` or `credential:NAME` (systemd).",
    "| key | kind | default | |\n| --- | --- | --- | --- |",
    "↻",
    "required",
    {
        "str": "text", "bool": "yes or no", "int": "number", "float": "number", "Duration": "time",
        "Size": "size", "Secret": "secret", "Words": "texts", "Path": "path", "Body": "table",
        "dict": "table", "Price": "table", "RuleReply": "table", "tuple": "tables",
        "AutoOrNumber": '`"auto"` or a number',
    },
    "Every sentence that people in WeChat read; what stands in braces is filled in.",
    "| key | default |\n| --- | --- |",
    {
        "match": "`keyword` (has one of the words in it), `exact` (is one), `regex`, "
        "`event:NAME:KEY`, `kind:KIND` or `any`",
        "words": "for `keyword` and `exact`",
        "pattern": "for `regex`, in RE2's syntax",
        "account": "only these accounts; all if empty",
        "always": "before everything, in a session too",
        "reply": "what is answered: one of the keys below",
        "forward": "or: the address of another backend",
        "text": "a text", "image": "a media_id", "voice": "a media_id", "video": "a media_id",
        "music": "an address, with `cover`",
        "news": "articles, each with `title`, `description`, `picture` and `url`",
        "title": "of a video or of music", "description": "of a video or of music",
        "cover": "a media_id, beside `music`",
    },
)  # fmt: skip
CHINESE = Language(
    "docs/zh/configuration.md",
    "配置",
    "由 `make docs` 从代码生成；[etc/wxgptd.toml](../../etc/wxgptd.toml) 里有每一个键和它的默认值，可以直接复制。\n"
    "`wxgpt check` 找出每一处错误，`wxgpt check --effective` 显示每个值和它的来源。改完运行\n"
    "`systemctl reload wxgptd` 就生效；标着 ↻ 的键要重启。\n\n"
    "*时间*写成 `400ms`、`30s`、`5m`、`2h`、`7d`；*大小*写成 `16KiB`、`64MiB`；*密钥*可以直接写，也可以写成\n"
    "`env:环境变量`、`file:文件`、`credential:名字`（systemd）。",
    "| 键 | 类型 | 默认值 | |\n| --- | --- | --- | --- |",
    "↻",
    "必填",
    {
        "str": "文字", "bool": "是或否", "int": "数字", "float": "数字", "Duration": "时间",
        "Size": "大小", "Secret": "密钥", "Words": "文字，可以几个", "Path": "路径", "Body": "表",
        "dict": "表", "Price": "表", "RuleReply": "表", "tuple": "几个表",
        "AutoOrNumber": '`"auto"` 或数字',
    },
    "微信用户看到的每一句话。花括号里的名字会被换掉。",
    "| 键 | 默认值 |\n| --- | --- |",
    {
        "match": "`keyword`（包含其中一个词）、`exact`（正好是）、`regex`、`event:事件名:KEY`、`kind:类型`、`any`",
        "words": "给 `keyword` 和 `exact`",
        "pattern": "给 `regex`，RE2 的写法",
        "account": "只管这些公众号，空着是全部",
        "always": "最先试，对话中也管用",
        "reply": "怎么回复：下面的键之一",
        "forward": "或者：交给这个地址的后台",
        "text": "文字", "image": "media_id", "voice": "media_id", "video": "media_id",
        "music": "地址，要配 `cover`",
        "news": "文章，每篇有 `title`、`description`、`picture`、`url`",
        "title": "视频或音乐的标题", "description": "视频或音乐的说明",
        "cover": "`music` 的封面，media_id",
    },
)  # fmt: skip

TABLES = (
    ("server", "[server]", config.Server),
    ("account", "[account.NAME]", config.Account),
    ("assistant", "[assistant.NAME]", config.Assistant),
    ("session", "[session]", config.Session),
    ("commands", "[commands]", config.Commands),
    ("window", "[window]", config.Window),
    ("reply", "[reply]", config.Reply),
    ("limits", "[limits]", config.Limits),
    ("moderation", "[moderation]", config.Moderation),
    ("pictures", "[pictures]", config.Pictures),
    ("links", "[links]", config.Links),
    ("log", "[log]", config.Log),
)
RULES = (("rule", "[[rule]]", config.Rule), ("rule", "reply", config.RuleReply))


# What the example says about each key.


def said() -> dict[str, tuple[str, str]]:
    """Return what is said about each `table.key` in the example, in Chinese and in English."""
    found: dict[str, tuple[str, str]] = {}
    table, last_key, comments = "", "", list[str]()
    for line in EXAMPLE.splitlines():
        if match := re.match(r"\[([a-z]+)", line):
            table, comments = match.group(1), []
        elif match := re.match(r"#?([a-z_0-9]+) = ", line):
            if comments:
                found[f"{table}.{match.group(1)}"] = halves(comments)
            elif previous := found.get(f"{table}.{last_key}"):
                found[f"{table}.{match.group(1)}"] = previous
            last_key, comments = match.group(1), []
        elif line.startswith("# "):
            comments.append(line[2:])
        elif not line.strip():
            comments = []
    return found


def halves(comments: list[str]) -> tuple[str, str]:
    """Return the Chinese lines of a comment, joined, and the English ones."""
    chinese, english = list[str](), list[str]()
    for line in comments:
        if " · " in line:
            one, other = line.split(" · ", 1)
            chinese.append(one)
            english.append(other)
        else:
            han, latin = len(re.findall("[一-鿿]", line)), len(re.findall("[A-Za-z]", line))
            (chinese if 3 * han > latin else english).append(line)
    return "".join(chinese), " ".join(english)


# The reference.


def kind_of(hint: Any) -> str:
    """Return the name of a field's kind, as `Language.kinds` has it."""
    if hint == AutoOrNumber:
        return "AutoOrNumber"
    arguments = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) in (dict, tuple):
        return str(get_origin(hint).__name__)
    if arguments:
        return kind_of(arguments[0])
    return str(getattr(hint, "__name__", hint))


def default_of(field: attrs.Attribute[Any], key: str) -> str:
    """Return a field's default as it is written."""
    match = re.search(rf"(?m)^{key_of(field.name)} = (\[$(?:\n .*)*\n\]|.+)$", section(key))
    written = re.sub(r"\s+", " ", match.group(1)) if match else ""
    written = written.replace("[ ", "[").replace(", ]", "]")
    if written in ("", '""', '"""'):
        return ""
    return f"`{written}`"


def section(table: str) -> str:
    """Return the part of the example that is about a table."""
    found = re.search(rf"(?ms)^\[{table}[\].](.*?)(?=^\[|\Z)", EXAMPLE)
    return found.group(1) if found else ""


def reference(language: Language) -> str:
    """Return the reference in one language."""
    chinese = language is CHINESE
    known = said()
    lines = [f"# {language.title}", "", language.opening, ""]
    for table, head, kind in (*TABLES[:3], *RULES, *TABLES[3:]):
        mark = f" {language.restart}" if table in TAKES_RESTART else ""
        lines += [f"## `{head}`{mark}", "", language.head]
        hints = get_type_hints(kind)
        for field in attrs.fields(kind):
            about = known.get(f"{table}.{key_of(field.name)}", ("", ""))[0 if chinese else 1]
            about = language.rules.get(field.name, "") if table == "rule" else about
            shown = language.kinds[kind_of(hints[field.name])]
            default = "" if table == "rule" else default_of(field, table)
            lines.append(
                f"| `{key_of(field.name)}` | {shown} | {default} | {about.replace('|', chr(92) + '|')} |"
            )
        lines.append("")
    lines += ["## `[texts]`", "", language.texts, "", language.texts_head]
    for name in texts.names():
        text = getattr(texts.Texts(), name).strip().replace("\n", "<br>").replace("|", "\\|")
        lines.append(f"| `{name}` | {text} |")
    return "\n".join(lines) + "\n"


# The manual.


def manual() -> Iterator[tuple[str, str]]:
    """Yield each page of the manual: its path below `docs/man`, and its text."""
    root = click.Context(cli, info_name="wxgpt")
    yield "man1/wxgpt.1", page(root, [(name, about) for name, about in COMMANDS.items()])
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        yield from pages(command, root, name)


def pages(command: click.Command, parent: click.Context, name: str) -> Iterator[tuple[str, str]]:
    """Yield the page of a command, and those of what is below it."""
    context = click.Context(command, info_name=name, parent=parent)
    inner = command.commands if isinstance(command, click.Group) else {}
    listed = [(one, each.get_short_help_str(80)) for one, each in inner.items()]
    yield f"man1/{context.command_path.replace(' ', '-')}.1", page(context, listed)
    for one, each in inner.items():
        yield from pages(each, context, one)


def page(context: click.Context, commands: list[tuple[str, str]]) -> str:
    """Return one page in roff."""
    made = str(generate_man_page(context, version=__version__, date=__version__))
    made = re.sub(r"(?m)^\x08$\n?", "", made)
    name = context.command_path.replace(" ", "-")
    made = re.sub(r'(?m)^\.TH "[^"]*"', f'.TH "{name.upper()}"', made)
    first = (context.command.help or "").split("\n\n")[0]
    about = " ".join(first.split()).split(". ")[0].rstrip(".").replace("\\", "\\\\")
    made = re.sub(
        r"(?m)^(\.SH NAME\n).*$", lambda found: f"{found.group(1)}{name} \\- {about}", made
    )
    if commands and ".SH COMMANDS" not in made:
        prefix = context.command_path.replace(" ", "-")
        rows = [
            f".PP\n\\fB{name}\\fP\n  {about}\n  See \\fB{prefix}-{name}(1)\\fP"
            for name, about in commands
        ]
        made = "\n".join([made.rstrip("\n"), ".SH COMMANDS", *rows])
    return made.rstrip("\n") + "\n"


def everything() -> Iterator[tuple[Path, str]]:
    """Yield all that is made: its path and its text."""
    for language in (ENGLISH, CHINESE):
        yield ROOT / language.path, reference(language)
    for path, text in manual():
        yield ROOT / "docs" / "man" / path, text


def check() -> Iterator[str]:
    """Yield what is not as it would be made."""
    made = dict(everything())
    for path, text in made.items():
        if not path.exists() or path.read_text("utf-8") != text:
            yield f"{path.relative_to(ROOT)} is not what the code makes: make docs"
    for path in (ROOT / "docs" / "man" / "man1").glob("*.1"):
        if path not in made:
            yield f"{path.relative_to(ROOT)} is of a command that there is not"


def main() -> None:
    """Write everything, or with `--check` only say what would change."""
    if sys.argv[1:] == ["--check"]:
        sys.exit("\n".join(check()) or 0)
    for path, text in everything():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
