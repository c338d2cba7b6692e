"""What every command shares: the global options, the archive, and where output goes."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muniment.errors import KeyUnavailableError
from muniment.text import plain

if TYPE_CHECKING:
    from muniment.bootstrap.archive import Archive

PASSPHRASE_VARIABLE = "MUNIMENT_PASSPHRASE"  # noqa: S105  # a variable's name
URL_VARIABLE = "MUNIMENT_URL"


@dataclass
class Session:
    """One run of the program: its global options, and its two ways of speaking.

    Attributes:
        home: The home folder that was asked for; None for the default.
        url: Address of the service that was asked for; None for what the environment says.
        api_key_file: File that holds the key for it; None for what the environment says.
        json: Print one JSON object instead of text.
        quiet: Print nothing but errors.
        verbose: Log what is done.
    """

    home: Path | None = None
    url: str | None = None
    api_key_file: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def home_folder(self) -> Path:
        """The home folder in use."""
        from muniment.bootstrap.archive import default_home  # noqa: PLC0415  # costs start-up time

        return self.home or default_home()

    @property
    def service_url(self) -> str | None:
        """Address of the service whose archive is meant; None for the archive of the home."""
        return self.url or os.environ.get(URL_VARIABLE) or None

    @contextlib.contextmanager
    def archive(self) -> "Iterator[Archive]":
        """Open the archive of the home.

        Raises:
            UsageError: There is none.
        """
        from muniment.bootstrap.archive import Archive  # noqa: PLC0415  # costs start-up time

        archive = Archive(self.home_folder, self.ask_passphrase)
        try:
            yield archive
        finally:
            archive.close()

    def ask_passphrase(self, key_id: str) -> str:
        """Ask for the passphrase of a signing key.

        Raises:
            KeyUnavailableError: There is nobody to ask.
        """
        known = os.environ.get(PASSPHRASE_VARIABLE)
        if known:
            return known
        if not sys.stdin.isatty():
            raise KeyUnavailableError(
                f"the signing key {key_id} has a passphrase and there is no terminal to ask for it: set {PASSPHRASE_VARIABLE}"
            )
        answer = click.prompt(f"Passphrase of the signing key {key_id}", hide_input=True, err=True)
        return str(answer)

    def say(self, *lines: str) -> None:
        """Print lines for people, made harmless."""
        if not (self.json or self.quiet):
            for line in lines:
                click.echo(plain(line))

    def warn(self, *lines: str) -> None:
        """Print lines for people to the error output, made harmless."""
        if not (self.json or self.quiet):
            for line in lines:
                click.echo(plain(line), err=True)

    def answer(self, value: dict[str, Any]) -> None:
        """Print the command's result, if JSON is wanted: one object, in ASCII."""
        if self.json:
            import json  # noqa: PLC0415  # costs start-up time

            click.echo(json.dumps(value, indent=2))

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is removed; without a terminal, only `--yes` answers.

        Raises:
            UsageError: Nobody can be asked, or the answer is no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask for confirmation: add --yes")
        if not click.confirm(plain(question), err=True):
            raise click.UsageError("nothing was changed")


pass_session = click.make_pass_decorator(Session, ensure=True)


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        session = context.find_root().ensure_object(Session)
        if value:
            setattr(session, name, value)

    return callback


def global_options() -> list[click.Option]:
    """Return the options that may stand before and after every command."""

    def option(*names: str, field: str, help: str, **more: Any) -> click.Option:  # noqa: A002, ANN401  # click's names
        return click.Option(
            names, help=help, expose_value=False, is_eager=True, callback=_store(field), **more
        )

    return [
        option(
            "--home",
            field="home",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="Home folder of the archive [env: MUNIMENT_HOME; default: ~/.muniment].",
        ),
        option(
            "--url",
            field="url",
            metavar="URL",
            help="Work on the archive behind this service, not on one of this machine [env: MUNIMENT_URL].",
        ),
        option(
            "--api-key-file",
            field="api_key_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="File with the API key for the service [env, for the key itself: MUNIMENT_API_KEY].",
        ),
        option("--json", field="json", is_flag=True, help="Print one JSON object."),
        option("-q", "--quiet", field="quiet", is_flag=True, help="Print nothing but errors."),
        option("-v", "--verbose", field="verbose", is_flag=True, help="Log what is done."),
    ]


class Command(click.Command):
    """A command that also takes the global options, and works on a service where one is named."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # click's arguments
        super().__init__(*args, **kwargs)
        self.params += global_options()

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's signature
        """Run the command here, or its remote form with the same arguments."""
        session = ctx.find_root().ensure_object(Session)
        if session.service_url is not None:
            from muniment.entrypoints.cli.remote import remote_form  # noqa: PLC0415  # costs start-up time

            form = remote_form(session, ctx.command_path.partition(" ")[2])
            if form is not None:
                return ctx.invoke(form, session, **ctx.params)
        return super().invoke(ctx)


class Group(click.Group):
    """A group of commands, which take the global options."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # click's arguments
        super().__init__(*args, **kwargs)
        self.params += global_options()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which they were added."""
        del ctx
        return list(self.commands)
