"""The program itself: its commands by name, each imported only when it runs."""

import importlib

import click

from muniment.entrypoints.cli.session import Group

COMMANDS = {
    "init": "Make a new archive with its keys.",
    "add": "Remember folders and files, and see what is new in them.",
    "archive": "Archive everything that is new or changed.",
    "status": "Show what waits, what is archived and what to do next.",
    "commits": "List the commits.",
    "show": "Show one commit: facts, files, proofs.",
    "verify": "Check that commits are whole, unchanged and in order.",
    "restore": "Put archived files back into a folder.",
    "repair": "Mend damaged commits from their parity or a backup.",
    "rebuild": "Make the database anew from the commits.",
    "backup": "Copy commits to the configured backup, or check it.",
    "ots": "Complete, check and describe timestamps.",
    "store": "Look after the block store.",
    "content": "Add, read, import and export public IPFS content.",
    "gateway": "Serve the store over HTTP, to IPFS tools and browsers.",
    "serve": "Run the service: the HTTP API and its background work.",
    "org": "Look after the organisations of a service.",
    "api-key": "Look after the API keys of an organisation.",
    "audit": "Export and check the audit log.",
    "db": "Look after the database of a service.",
    "keys": "Look after keys and recipients.",
    "doctor": "Check that this home is in good health.",
    "completion": "Print a script that completes commands in your shell.",
}
"""Every command and its one line in the list; a test holds the lines to those of the commands."""


class _LazyGroup(Group):
    """Lists all commands without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(
            f"muniment.entrypoints.cli.commands.{cmd_name.replace('-', '_')}"
        )
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from muniment import __version__  # noqa: PLC0415

        click.echo(f"muniment {__version__}")
        context.exit()


@click.command(
    cls=_LazyGroup,
    name="muniment",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `muniment init`, then `muniment archive FOLDER`. Each command explains itself: muniment COMMAND --help.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and leave.",
)
def cli() -> None:
    """A shared archive that can prove itself.

    Your files are encrypted, signed, timestamped and stored so that anyone can check a proof, and nobody can read or change
    them without your keys.
    """
