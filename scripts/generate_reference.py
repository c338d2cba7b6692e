#!/usr/bin/env python3
"""Writes docs/reference/ from the program itself; with --check only tells whether it is current."""

import inspect
import sys
from pathlib import Path

import click

from muniment.entrypoints.cli.answers import ANSWERS, COMMIT, PROBLEM
from muniment.entrypoints.cli.exit_codes import EXIT_CODES
from muniment.entrypoints.cli.root import cli
from muniment.entrypoints.cli.session import global_options
from muniment.entrypoints.http.problem_kinds import KINDS, TYPE_PATH
from muniment.settings.archive import ARCHIVE_SETTINGS
from muniment.settings.service import SERVICE_SETTINGS
from muniment.testing.engines import pinned_version
from muniment.testing.gateway_comparison import ERROR_HEADERS, HEADERS
from muniment.testing.gateway_differences import SECTIONS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Written by scripts/generate_reference.py; do not edit. -->\n"


def pages():
    """Return the text of every page by file name."""
    return {
        "cli.md": cli_page(),
        "exit-codes.md": exit_code_page(),
        "gateway-differences.md": differences_page(),
        "problems.md": problems_page(),
        "service-settings.md": service_settings_page(),
        "settings.md": settings_page(),
    }


def cli_page():
    lines = [
        NOTE,
        "# Commands",
        "",
        "```",
        "muniment [OPTIONS] COMMAND ...",
        "```",
        "",
        "These options may stand before or after any command:",
        "",
        *options_table(global_options()),
        "",
        "With `--json`, standard output is exactly one JSON object in ASCII: the command's answer, or",
        '`{"error": {"code", "message"}}`; compare `code`, not `message`. Keys are never renamed or removed within a major version;',
        "new ones may be added. Exit codes are listed in [exit-codes.md](exit-codes.md), settings in [settings.md](settings.md).",
        "",
        "*A commit*, wherever one is listed:",
        "",
        *keys_table(COMMIT),
        "",
        "*A problem*, wherever one is listed:",
        "",
        *keys_table(PROBLEM),
    ]
    for path, command, context in commands():
        lines += ["", *command_section(path, command, context)]
    return "\n".join(lines) + "\n"


def commands(group=cli, prefix=""):
    """Yield every command that does something, with its path and context."""
    with click.Context(group, info_name=f"muniment {prefix}".strip()) as parent:
        for name in group.list_commands(parent):
            command = group.get_command(parent, name)
            path = f"{prefix} {name}".strip()
            if isinstance(command, click.Group):
                yield from commands(command, path)
            else:
                yield path, command, click.Context(command, info_name=name, parent=parent)


def command_section(path, command, context):
    yield f"## muniment {path}"
    yield ""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"    muniment {path} {usage}"
    yield ""
    for paragraph in inspect.cleandoc(command.help).split("\n\n"):
        yield paragraph
        yield ""
    own = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.expose_value
    ]
    if own:
        yield from options_table(own)
        yield ""
    yield "Answer with `--json`:"
    yield ""
    yield from keys_table(ANSWERS[path])
    if path == "show":
        yield ""
        yield "With `--proof`: the one file's entry of `files`, with `commit_id`, `leaf_count`, `root`, `signer_key_id`, and `disclosed`: its fields with their salts, by which anybody can recompute the leaf."


def options_table(options):
    yield "| option | |"
    yield "|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        metavar = "" if option.is_flag else f" `{option.metavar or 'TEXT'}`"
        required = " Required." if option.required else ""
        yield f"| {names}{metavar} | {' '.join(option.help.split())}{required} |"


def keys_table(keys):
    yield "| key | |"
    yield "|---|---|"
    for name, meaning in keys.items():
        yield f"| `{name}` | {meaning} |"


def exit_code_page():
    lines = [
        NOTE,
        "# Exit codes",
        "",
        "| code | error codes in JSON | meaning | what to do |",
        "|---|---|---|---|",
        *(
            f"| {code} | {names} | {meaning} | {remedy} |"
            for code, names, meaning, remedy in EXIT_CODES
        ),
    ]
    return "\n".join(lines) + "\n"


def settings_page():
    lines = [
        NOTE,
        "# Settings",
        "",
        "They stand in `config.toml` in the home folder. The environment wins: the variable of a setting is its name in capitals behind",
        "`MUNIMENT_`, lists with commas between (`MUNIMENT_CALENDARS=` for none). Units are in the names.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
        *(
            f"| `{setting.name}` | {default(setting.default)} | {setting.help} |"
            for setting in ARCHIVE_SETTINGS
        ),
        "",
        "Two more variables are no settings: `MUNIMENT_HOME` is the home folder, `MUNIMENT_PASSPHRASE` the passphrase of a locked signing",
        "key where there is no terminal to ask for it.",
    ]
    return "\n".join(lines) + "\n"


def problems_page():
    lines = [
        NOTE,
        "# Problems of the HTTP API",
        "",
        "What an answer with an error status can say ([http.md](http.md)), by its `code`. Codes are never renamed; new ones can come, and a client",
        f"that does not know one goes by the status. Every service says the same itself: `type` of a problem is `{TYPE_PATH}<code>` there.",
    ]
    for kind in sorted(KINDS.values(), key=lambda kind: kind.code):
        lines += ["", f"## {kind.code}", "", f"Status {kind.status}. {kind.title}", "", kind.advice]
    return "\n".join(lines) + "\n"


def service_settings_page():
    lines = [
        NOTE,
        "# Settings of a service",
        "",
        "They stand in `service.toml` in the service's home. The environment wins: the variable of a setting is its name in capitals behind",
        "`MUNIMENT_SERVICE_`, lists with commas between. Units are in the names. What concerns one organisation's archive stays in the",
        "[`config.toml`](settings.md) of its own home, `organizations/ID`.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
        *(
            f"| `{setting.name}` | {default(setting.default)} | {setting.help} |"
            for setting in SERVICE_SETTINGS
        ),
        "",
        "One more variable is no setting: `MUNIMENT_SERVICE_HOME` is the service's home, where `--home` is not given; else it is",
        "`~/.muniment-service`.",
    ]
    return "\n".join(lines) + "\n"


def differences_page():
    lines = [
        NOTE,
        "# The gateway beside Kubo's",
        "",
        f"The tests ask [our gateway](gateway.md) and a real Kubo {pinned_version('ipfs')} the same, about a thousand requests over the",
        "same content: files and folders, formats, ranges, conditions, CARs, names, hosts and errors. Compared are the status, the body",
        "(bytes; blocks of a CAR and members of a TAR in their order; of pages and error texts only the kind), and these headers:",
        f"{', '.join(f'`{name}`' for name in HEADERS)}; where the answer is an error,",
        f"{', '.join(f'`{name}`' for name in ERROR_HEADERS)}.",
        "",
        "Everything in which they differ is here. A difference that is not fails the tests, and so does a row that is true no longer.",
        "Where two do the same in different words the specifications (<https://specs.ipfs.tech/http-gateways/>) and their conformance suite decide.",
    ]
    for title, rows in SECTIONS.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| in | when | Kubo | here | why |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row.what.replace(' ', ', ')} | {row.when} | {row.kubo} | {row.ours} | {row.why} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def default(value):
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "<br>".join(f"`{item}`" for item in value) or "none"
    if value == "":
        return "none"
    return f"`{value:_}`" if isinstance(value, int) else f"`{value}`"


def main():
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    if "--check" in sys.argv and stale:
        sys.exit(
            f"docs/reference is not current ({', '.join(stale)}): run scripts/generate_reference.py"
        )


if __name__ == "__main__":
    main()
