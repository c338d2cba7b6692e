"""`muniment completion`."""

import click
from click.shell_completion import get_completion_class

from muniment.entrypoints.cli.root import cli
from muniment.entrypoints.cli.session import Command, Session, pass_session
from muniment.errors import UsageError

_HOW = {
    "bash": "muniment completion bash >> ~/.bashrc",
    "zsh": "muniment completion zsh >> ~/.zshrc",
    "fish": "muniment completion fish > ~/.config/fish/completions/muniment.fish",
}


@click.command(
    cls=Command,
    name="completion",
    short_help="Print a script that completes commands in your shell.",
    epilog="\b\n" + "\n".join(_HOW.values()),
)
@click.argument("shell", type=click.Choice(list(_HOW)))
@pass_session
def command(session: Session, shell: str) -> None:
    """Print a script that completes commands in your shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"expected a shell of {', '.join(_HOW)}, got {shell!r}")
    script = kind(cli, {}, "muniment", "_MUNIMENT_COMPLETE").source()
    session.answer({"shell": shell, "script": script})
    if not session.json:
        click.echo(script)
