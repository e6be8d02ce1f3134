"""`wxgpt completion`: shell completion of commands, options, sessions, kinds and users."""

from __future__ import annotations

import click

VARIABLE = "_WXGPT_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell completion script for wxgpt's commands, sessions, users and kinds.

    \b
    Examples:
      eval "$(wxgpt completion bash)"                                   in ~/.bashrc
      eval "$(wxgpt completion zsh)"                                    in ~/.zshrc
      wxgpt completion fish > ~/.config/fish/completions/wxgpt.fish
    """
    from click.shell_completion import get_completion_class

    from wxgpt.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "wxgpt", VARIABLE).source())
