"""Rotate an account's EncodingAESKey without losing a message.

The configuration is rewritten with a new key in addition to the previous one; comments are kept.
The daemon accepts messages encrypted with either, and encrypts its reply with the same key.
"""

from __future__ import annotations

from pathlib import Path

import click

from wxgpt import options
from wxgpt.failures import UsageFailure
from wxgpt.language import spoken
from wxgpt.setup.configuration import make_aes_key
from wxgpt.setup.editing import read_text, replace_file
from wxgpt.setup.one_key import document_of
from wxgptd.wording import say


def rotate(account: str | None, *, finish: bool) -> None:
    """Rotate an account's EncodingAESKey, or finish a rotation.

    Raises:
        UsageFailure: there is no key to rotate or to remove, or a rotation is already in progress.
    """
    path = options.config_path().resolve()
    name, configured = options.pick_account(options.load_config(), account)
    if not configured.aes_key:
        raise UsageFailure(
            say("account {name} has no aes_key to rotate", name=name),
            hint=say("it is in plain text mode; for safe mode, set app_id and aes_key"),
        )
    if finish:
        if not configured.previous_aes_key:
            raise UsageFailure(say("account {name} has no previous key to remove", name=name))
        _finish(path, name)
    else:
        if configured.previous_aes_key:
            raise UsageFailure(
                say(
                    "account {name} still has a previous key: a rotation is in progress", name=name
                ),
                hint=say("finish it first: wxgpt init --rotate-aes-key --finish"),
            )
        _begin(path, name, account)


def _begin(path: Path, name: str, account: str | None) -> None:
    fresh = make_aes_key()
    document = document_of(read_text(path))
    table = document["account"][name]
    previous = str(table["aes_key"])
    scheme, colon, location = previous.partition(":")
    match scheme if colon else "":
        case "":
            table["previous_aes_key"] = previous
            table["aes_key"] = fresh
            replace_file(path, document.as_string())
        case "file":
            file = path.parent / location
            backup = file.with_name(f"{file.name}.previous")
            if backup.exists():
                raise UsageFailure(
                    say("{backup} exists: an earlier rotation was not finished", backup=backup),
                    hint=say("if the key in it is no longer in use, delete the file"),
                )
            # In this order, an interruption at any point loses no key.
            replace_file(backup, file.read_text("utf-8"), like=file)
            table["previous_aes_key"] = f"file:{location}.previous"
            replace_file(path, document.as_string())
            replace_file(file, f"{fresh}\n")
        case _:
            raise UsageFailure(
                say(
                    "the key of account {name} is {scheme}:{location}, which wxgpt cannot change",
                    name=name,
                    scheme=scheme,
                    location=location,
                ),
                hint=say(
                    "keep it as previous_aes_key, and store this new one there: {fresh}",
                    fresh=fresh,
                ),
            )
    given = click.get_current_context().find_root().obj["config"]
    prefix = f"wxgpt --config {given}" if given else "wxgpt"
    finish = f"{prefix} init --rotate-aes-key --finish"
    if account is not None:
        finish += f" --account {account}"
    click.echo(
        spoken(
            "{path}: account {name} has a new aes_key and keeps the old one for now.",
            path=path,
            name=name,
        )
    )
    click.echo(
        spoken(
            "\nNext steps, in this order:\n  1. systemctl reload wxgptd\n  2. In WeChat's "
            "backend (微信开发者平台 → 公众号 → 基础信息 → 域名与消息推送配置), "
            "enter this\n     EncodingAESKey, then 提交:\n       {fresh}\n"
            "  3. After ten minutes, when messages no longer arrive with the old key:\n"
            "       {finish}\n       systemctl reload wxgptd",
            fresh=fresh,
            finish=finish,
        )
    )


def _finish(path: Path, name: str) -> None:
    document = document_of(read_text(path))
    table = document["account"][name]
    previous = str(table["previous_aes_key"])
    del table["previous_aes_key"]
    replace_file(path, document.as_string())
    if previous.startswith("file:"):
        (path.parent / previous.removeprefix("file:")).unlink(missing_ok=True)
    click.echo(spoken("{path}: removed the previous key of account {name}.", path=path, name=name))
    click.echo(spoken("Next step: systemctl reload wxgptd"))
