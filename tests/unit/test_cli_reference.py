"""docs/reference is what the program itself says, and the program's tables agree with one another."""

import runpy
from pathlib import Path

import click
import pytest

from muniment import errors
from muniment.entrypoints.cli.answers import ANSWERS
from muniment.entrypoints.cli.exit_codes import EXIT_CODES
from muniment.entrypoints.cli.root import COMMANDS, cli
from muniment.entrypoints.cli.running import describe

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = runpy.run_path(str(ROOT / "scripts" / "generate_reference.py"))


@pytest.mark.parametrize("name", ["cli.md", "exit-codes.md", "service-settings.md", "settings.md"])
def test_the_reference_is_current(name):
    page = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert page == REFERENCE["pages"]()[name], "run scripts/generate_reference.py"


def test_every_command_has_the_line_that_the_list_shows():
    with click.Context(cli) as context:
        for name, line in COMMANDS.items():
            assert cli.get_command(context, name).short_help == line


def test_every_command_says_what_it_answers():
    assert {path for path, _command, _context in REFERENCE["commands"]()} == set(ANSWERS)


def test_commands_that_write_can_be_tried():
    writing = {"add", "archive", "restore", "repair", "rebuild", "backup"}
    writing |= {"ots upgrade", "store gc", "keys rewrap"}
    for path, command, _context in REFERENCE["commands"]():
        has = any("--dry-run" in parameter.opts for parameter in command.params)
        assert has == (path in writing), path


def test_every_error_has_an_exit_code_in_the_table():
    table = {row.code: row.names for row in EXIT_CODES}
    for name in dir(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.MunimentError):
            failure = describe(kind("x"))
            assert failure.exit_code == kind.exit_code
            assert f"`{failure.code}`" in table[kind.exit_code]
    for other in (KeyboardInterrupt(), OSError(28, "full"), OSError(5, "bad"), ValueError()):
        failure = describe(other)
        assert f"`{failure.code}`" in table[failure.exit_code]
