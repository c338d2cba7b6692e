"""Links in the documentation lead somewhere, every page can be reached, and every command that a page names exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from muniment.entrypoints.cli.root import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "standalone/README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)


def links(page):
    """Links of a page to others of the project: the path and the anchor."""
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if not re.match(r"[a-z]+:", target):
            path, _hash, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page):
    """Anchors of a page's headings, as they are made from them by GitHub and others."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [t for t, _anchor in links(page) if t.suffix == ".md" and t.exists()]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def commands(text):
    """Commands that a page names, in code spans and blocks, as words."""
    code = [*re.findall(r"`(muniment [^`]+)`", FENCE.sub("", text))]
    for block in FENCE.findall(text):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        code += [m[1] for line in lines if (m := re.match(r"\s*(?:\$ )?(muniment .+)", line))]
    for span in code:
        yield re.split(r" (?:#|&&|\|) ", span)[0]


def check_command(text):
    """Look up a command's groups and options; raises AssertionError for one that does not exist."""
    words = iter(shlex.split(re.sub(r"\$\([^)]*\)", "substituted", text), posix=True)[1:])
    command, context = cli, click.Context(cli, info_name="muniment")
    for word in words:
        if word.startswith("-") and word != "-":
            option = find_option(command, word.partition("=")[0])
            assert option is not None, f"{text}: no option {word}"
            if "=" not in word and not option.is_flag:
                next(words, None)
        elif isinstance(command, click.Group):
            if not re.fullmatch(r"[a-z-]+", word):
                return  # COMMAND, ...
            command = command.get_command(context, word)
            assert command is not None, f"{text}: no command {word}"


def find_option(command, name):
    """Return a command's option, one of the program's, or the one for help."""
    for option in [*command.params, *cli.params, click.Option(["--help", "-h"], is_flag=True)]:
        if name in [*option.opts, *option.secondary_opts]:
            return option
    return None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page):
    for text in commands(page.read_text("utf-8")):
        check_command(text)


def test_commands_are_found_and_wrong_ones_noticed():
    assert sum(1 for page in PAGES for _text in commands(page.read_text("utf-8"))) > 80
    check_command("muniment --home x keys add-recipient age1... --name 'two words'")
    for wrong in ("muniment destroy", "muniment verify --hard", "muniment keys burn"):
        with pytest.raises(AssertionError):
            check_command(wrong)
