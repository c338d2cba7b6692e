"""`muniment content`: the group of commands; each is made in a module of its own."""

import click

from muniment.entrypoints.cli.commands import (
    content_add,
    content_car,
    content_fetch,
    content_pins,
    content_read,
)
from muniment.entrypoints.cli.session import Group


@click.group(
    cls=Group, name="content", short_help="Add, read, import and export public IPFS content."
)
def command() -> None:
    """Add, read, import and export IPFS content in the block store.

    What is added here is stored as it is: not encrypted, and served by `muniment gateway` to whoever knows its CID. Files that
    should stay private are archived with `muniment archive`.
    """


for _command in (
    content_add.add,
    content_read.get,
    content_read.ls,
    content_read.cat,
    content_read.stat,
    content_car.import_,
    content_car.export,
    content_fetch.fetch,
    content_pins.pin,
    content_pins.unpin,
    content_pins.pins,
    content_pins.cid_command,
):
    command.add_command(_command)
