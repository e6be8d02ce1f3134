"""`wxgpt config`: look at values of the configuration, and change them."""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from wxgpt import control, options, render
from wxgpt.failures import Unreachable, UsageFailure
from wxgpt.language import shown, spoken
from wxgpt.setup import editing, one_key
from wxgptd.errors import WxgptError
from wxgptd.wording import reason, say

if TYPE_CHECKING:
    from wxgptd.untyped import Given

EDITORS = ("nano", "vi")
"""The first one that is installed is the default; nano shows how to leave it."""

_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only show what would change.")


@click.group("config")
def command() -> None:
    """Look at values of the configuration, and change them.

    A change keeps all comments. It is checked first, shown, and applied to the running daemon;
    `undo` takes the last one back. Secrets are never shown.

    \b
    Examples:
      wxgpt config get session.ttl
      wxgpt config set session.ttl 10m
      wxgpt config set assistant.chatgpt.api_key
      wxgpt config edit
      wxgpt config undo
    """


@command.command("get")
@click.argument("key", default="")
@options.output_option("text", "json")
def get(key: str, output: str) -> None:
    """Show the value of KEY, of all keys that begin with it, or of all.

    \b
    Examples:
      wxgpt config get session.ttl
      wxgpt config get assistant.chatgpt
      wxgpt config get
    """
    from wxgpt.effective import values

    path = options.config_path()
    every = list(values(options.load_config(), path))
    chosen = [each for each in every if not key or f"{each.key}.".startswith(f"{key}.")]
    if not chosen:
        near = difflib.get_close_matches(key, [each.key for each in every], 1)
        raise UsageFailure(
            say("no such key: {key}", key=key),
            hint=say("did you mean {near}?", near=near[0]) if near else "wxgpt config get",
        )
    if output == "json":
        click.echo(render.dumps({each.key: each.value for each in chosen}))
    elif len(chosen) == 1 and chosen[0].key == key:
        value, text = chosen[0].value, chosen[0].text
        click.echo(value if isinstance(value, str) else text.removeprefix('"').removesuffix('"'))
    else:
        for each in chosen:
            render.row(f"{each.key} = {each.text}")


@command.command("set")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--from-file", "file", type=click.File("rb"), metavar="FILE",
              help="Read the value from FILE; - is standard input.")  # fmt: skip
@_yes
@_dry_run
def set_(key: str, value: str | None, file: IO[bytes] | None, yes: bool, dry_run: bool) -> None:
    """Set KEY to VALUE.

    A secret is not an argument, because arguments are seen by others: it is prompted for, or read
    with --from-file.

    \b
    Examples:
      wxgpt config set session.ttl 10m
      wxgpt config set limits.questions_per_day 50
      wxgpt config set pictures.hosts '["qpic.cn"]'
      wxgpt config set assistant.chatgpt.api_key
      wxgpt config set assistant.chatgpt.api_key --from-file key.txt
    """
    from wxgptd.config import ConfigError

    path = _writable()
    before = path.read_bytes()
    given = _given(key, value, file)
    first: ConfigError | None = None
    for meaning in [given] if editing.is_secret(key) else editing.candidates(given):
        text = one_key.with_value(editing.read_text(path), key, meaning)
        try:
            editing.check(text, path)
        except ConfigError as error:
            first = first or error
        else:
            _apply(path, before, text, yes=yes, dry_run=dry_run)
            return
    assert first is not None
    raise first


@command.command("unset")
@click.argument("key")
@_yes
@_dry_run
def unset(key: str, yes: bool, dry_run: bool) -> None:
    """Remove KEY, so that its default is used.

    \b
    Examples:
      wxgpt config unset session.ttl
    """
    from wxgpt.effective import values

    path = _writable()
    before = path.read_bytes()
    text = one_key.without(editing.read_text(path), key)
    configured = editing.check(text, path)
    if _apply(path, before, text, yes=yes, dry_run=dry_run):
        for each in values(configured, path):
            if f"{each.key}.".startswith(f"{key}."):
                click.echo(spoken("default: {key} = {value}", key=each.key, value=each.text))


@command.command("edit")
def edit() -> None:
    """Edit the configuration in $VISUAL or $EDITOR; mistakes are shown before anything changes.

    \b
    Examples:
      wxgpt config edit
      EDITOR=nano wxgpt config edit
    """
    path = _writable()
    before = path.read_bytes()
    if not sys.stdin.isatty():
        raise UsageFailure(
            say("an editor needs a terminal"), hint=say("in scripts: wxgpt config set KEY VALUE")
        )
    with tempfile.TemporaryDirectory(prefix="wxgpt-") as directory:  # for this user only
        draft = Path(directory) / path.name
        draft.write_bytes(before)
        try:
            _edit(draft, path, before)
        finally:  # whatever happens, what was typed is kept
            if path.read_bytes() == before != draft.read_bytes():
                _keep_draft(draft, path)


def _edit(draft: Path, path: Path, before: bytes) -> None:
    """Let the operator edit the draft until it is valid, and apply it."""
    from wxgptd.config import ConfigError

    while True:
        _run_editor(draft)
        try:
            text = options.read_config(draft)
            editing.check(text, path)
            break
        except ConfigError as error:
            for fault in error.faults:
                click.echo(f"{path}: {shown(fault)}", err=True)
            if not click.confirm(spoken("Edit again?"), default=True, err=True):
                sys.exit(4)
    if not _apply(path, before, text, yes=False, dry_run=False):
        sys.exit(1)


@command.command("undo")
@_yes
@_dry_run
def undo(yes: bool, dry_run: bool) -> None:
    """Take the last change back; a second time, make it again.

    \b
    Examples:
      wxgpt config undo
    """
    path = _writable()
    before = path.read_bytes()
    previous = editing.previous_of(path)
    if not previous.exists():
        raise UsageFailure(say("there is no earlier version: {path} is missing", path=previous))
    text = options.read_config(previous)
    editing.check(text, path)
    _apply(path, before, text, yes=yes, dry_run=dry_run)


def _keep_draft(draft: Path, path: Path) -> None:
    """Keep what was edited but not accepted, beside the configuration."""
    kept = path.with_name(f"{path.name}.draft")
    if kept.exists():
        kept.unlink()
    kept.touch(0o600)
    editing.replace_file(kept, draft.read_bytes())
    click.echo(spoken("nothing was changed; what you wrote is in {path}", path=kept), err=True)


def _writable() -> Path:
    """Return the configuration's path.

    Raises:
        UsageFailure: this user cannot change it.
    """
    path = options.config_path()
    target = path.resolve()
    if path.exists() and not (os.access(target, os.W_OK) and os.access(target.parent, os.W_OK)):
        raise UsageFailure(
            say("this user cannot change {path}", path=path), hint="sudo wxgpt config ..."
        )
    options.read_config(path)  # raises: it cannot be read
    return path


def _given(key: str, value: str | None, file: IO[bytes] | None) -> str:
    """Return the value that was given, read or typed."""
    from wxgptd.config.encodings import decoded

    if file is not None:
        if value is not None:
            raise UsageFailure(say("give VALUE or --from-file, not both"))
        try:
            return _not_empty(key, decoded(file.read()).strip())
        except ValueError as error:
            raise UsageFailure(say("{name} {why}", name=file.name, why=reason(error))) from None
    if not editing.is_secret(key):
        if value is None:
            raise UsageFailure(say("VALUE is missing"), hint=f"wxgpt config set {key} VALUE")
        if editing.has_secret(value):
            raise UsageFailure(
                say("the value has a secret in it, and arguments are seen by others"),
                hint="wxgpt config edit",
            )
        return value
    if value is not None and not value.startswith(("file:", "env:", "credential:")):
        raise UsageFailure(
            say("{key} is a secret, and arguments are seen by others", key=key),
            hint=say("leave VALUE out to be asked for it, or use --from-file"),
        )
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise UsageFailure(
            say("there is no terminal to ask for the secret"), hint=say("use --from-file")
        )
    typed: str = click.prompt(
        spoken("{key} (hidden while you paste it)", key=key), hide_input=True, err=True
    )
    return _not_empty(key, typed.strip())


def _not_empty(key: str, secret: str) -> str:
    if not secret:
        raise UsageFailure(
            say("the value of {key} is empty", key=key),
            hint=say("to remove it: wxgpt config unset {key}", key=key),
        )
    return secret


def _run_editor(draft: Path) -> None:
    default = next(filter(shutil.which, EDITORS), EDITORS[-1])
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or default
    try:
        ended = subprocess.run([*shlex.split(editor), str(draft)], check=False)
    except (OSError, ValueError) as error:
        raise UsageFailure(
            say("the editor {editor} cannot be started: {why}", editor=editor, why=error),
            hint=say("set EDITOR, for example EDITOR=nano"),
        ) from None
    if ended.returncode:
        raise UsageFailure(say("the editor failed; nothing was changed"))


def _apply(path: Path, before: bytes, text: str, *, yes: bool, dry_run: bool) -> bool:
    """Show the change, ask, write it, and let the daemon reload it; return if it was wanted."""
    changes = list(editing.difference(options.read_config(path), text))
    if not changes:
        click.echo(spoken("nothing has changed"), err=True)
        return True
    for line in changes:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        click.echo(click.style(render.printable(line), fg=colour))
    if dry_run:
        return True
    if not yes:
        if not sys.stdin.isatty():
            raise UsageFailure(say("confirmation is required"), hint=say("pass --yes (-y)"))
        if not click.confirm(spoken("Change {path}?", path=path), default=True, err=True):
            click.echo(spoken("nothing was changed"), err=True)
            return False
    socket_path = _running_socket(path, text)
    if not _accepted(path, text, socket_path):
        click.echo(spoken("nothing was changed"), err=True)
        sys.exit(4)
    editing.save(path, text, before)
    click.echo(spoken("changed: {path}  (to take it back: wxgpt config undo)", path=path))
    if not _reload(path, socket_path):
        sys.exit(1)
    return True


def _running_socket(path: Path, text: str) -> Path:
    """Return the admin socket of the daemon that runs now.

    If the file has a mistake in it, which `text` corrects, that is taken to be the new one's.
    """
    from wxgptd.config import ConfigError

    try:
        return options.load_server().admin_socket
    except ConfigError:
        return editing.check(text, path).server.admin_socket


def _accepted(path: Path, text: str, socket_path: Path) -> bool:
    """Return whether the daemon would accept the change, if it runs; print its objections."""
    try:
        planned = control.reload(path.absolute(), text, dry=True, socket_path=socket_path)
    except Unreachable:
        return True
    for fault in planned.get("faults", ()):
        click.echo(spoken("the daemon refuses it: {why}", why=fault), err=True)
    return not planned.get("faults")


def _reload(path: Path, socket_path: Path) -> bool:
    """Let the daemon reload the file, if it runs; return whether it did not refuse."""
    try:
        changes: Given = control.reload(
            path.absolute(), options.read_config(path), socket_path=socket_path
        )
    except Unreachable as error:
        click.echo(spoken("not reloaded: {why}", why=error), err=True)
        return True
    except WxgptError as error:
        click.echo(spoken("not reloaded: {why}", why=error), err=True)
        return False
    for fault in changes.get("faults", ()):
        click.echo(spoken("not reloaded: {why}", why=fault), err=True)
    if changes.get("changed"):
        click.echo(spoken("the daemon has reloaded: {keys}", keys=", ".join(changes["changed"])))
    for key in changes.get("takes_restart", ()):
        click.echo(spoken("restart required: {key}", key=key), err=True)
    if changes.get("takes_restart"):
        click.echo(spoken("to apply it: systemctl restart wxgptd"), err=True)
    return not changes.get("faults")
