"""`wxgpt check`: the configuration, before the daemon meets it."""

from __future__ import annotations

import click

from wxgpt import options


@click.command("check")
def command() -> None:
    """Check the configuration, and say all that is wrong with it.

    \b
    Examples:
      wxgpt check
      wxgpt --config /etc/wxgptd/wxgptd.toml check
    """
    from wxgptd.config import ConfigError, chat_command, doubts, load, webhook_path

    path = options.config_path()
    try:
        config = load(path)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"{path}: {fault}", err=True)
        raise ConfigError(
            path, [f"{len(error.faults)} mistake{'s' if len(error.faults) > 1 else ''}"]
        ) from None
    for name, account in config.account.items():
        mode = "safe mode" if account.aes_key else "plain text"
        click.echo(f"account {name}: {webhook_path(name, account)}, {mode}")
    for name, assistant in config.assistant.items():
        click.echo(f"assistant {name}: {chat_command(name, assistant)} asks {assistant.model}")
    for doubt in doubts(config):
        click.echo(f"warning: {doubt}", err=True)
    click.echo(f"{path}: ok")
