"""Every name of the code that documentation uses is one: whoever renames it has to tell the page."""

import importlib
import re
from pathlib import Path

import pytest

from muniment.archive.catalog import CommitState

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
PACKAGES = sorted(path.stem for path in (ROOT / "src/muniment").iterdir() if path.suffix != ".pyc")
CODE = re.findall(r"`([^`\n]+)`", PAGE)
DOTTED = re.compile(rf"(?:muniment\.)?((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?:\(\))?")


def names_in(code):
    """Return the dotted names below the package among spans of code."""
    found = {match[1] for text in code if (match := DOTTED.fullmatch(text))}
    return sorted(name for name in found if not name.endswith((".py", ".md", ".toml")))


NAMES = names_in(CODE)
NAMES_ELSEWHERE = {
    str(page.relative_to(ROOT)): names
    for page in sorted(ROOT.glob("docs/**/*.md"))
    if page.name != "architecture.md"
    and (names := names_in(re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))))
}
PATHS = sorted(
    {
        text
        for text in CODE
        if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|md|toml)|\w+\.py|pyproject\.toml", text)
    }
)
IN_STAGES = ("collect", "hash", "encrypt", "build tree", "package", "sign", "timestamp", "upload")


def resolve(name):
    """Import as much of a dotted name as is modules, and look up the rest."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["muniment", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def test_there_are_names_to_resolve():
    assert len(NAMES) >= 60
    assert len(PATHS) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_in_the_code(name):
    resolve(name)


@pytest.mark.parametrize("page", NAMES_ELSEWHERE)
def test_names_in_other_pages_are_in_the_code(page):
    for name in NAMES_ELSEWHERE[page]:
        resolve(name)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    assert (ROOT / path).exists() or (ROOT / "src/muniment" / path).exists()


def test_a_name_that_is_not_there_is_noticed():
    for name in ("archive.pipeline.Pipeline.fly", "archive.nothing.at_all", "nowhere.x"):
        with pytest.raises(AttributeError):
            resolve(name)


def test_every_stage_and_every_layer_has_its_row():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    numbered = re.findall(
        r"\d ([a-z ]+)", " ".join(row.split("|")[1] for row in rows if "**" in row)
    )
    assert [stage.strip() for stage in numbered] == list(IN_STAGES)
    layers = {name for row in rows for name in re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", row)}
    assert {name.strip("`").split(".")[0] for layer in layers for name in layer.split(", ")} >= {
        package
        for package in PACKAGES
        if package not in ("__init__", "__main__", "__pycache__", "py")
    }


def test_every_row_of_the_way_names_where():
    way = PAGE.split("## In:")[1].split("## Mended")[0]
    rows = [line for line in way.splitlines() if line.startswith("| ") and "|---" not in line]
    rows = [row for row in rows if not row.endswith("| where |")]
    assert len(rows) >= 15
    for row in rows:
        assert any(f"`{name}`" in row for name in NAMES), row


def test_states_are_those_of_the_code():
    listed = re.search(r"`archive\.catalog\.CommitState`: ([a-z_,\s]+)\.", PAGE)
    assert listed is not None
    assert re.split(r",\s+", listed[1]) == [state.value for state in CommitState]
