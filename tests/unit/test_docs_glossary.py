"""The glossary lists words that are in use, each once and in order, and explains each of them shortly."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
ENTRIES = re.findall(r"^\*\*([^*\n]+)\*\* — (.+)$", GLOSSARY.read_text("utf-8"), re.MULTILINE)
TERMS = [term for term, _meaning in ENTRIES]


@pytest.fixture(scope="module")
def elsewhere():
    """All that is written but the glossary, in small letters."""
    files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py"), ROOT / "README.md"]
    texts = (path.read_text("utf-8") for path in files if path != GLOSSARY)
    return re.sub(r"\s+", " ", "\n".join(texts).lower())


def test_terms_stand_once_and_in_order():
    assert len(TERMS) >= 50
    assert sorted(set(TERMS), key=str.lower) == TERMS


@pytest.mark.parametrize("term", TERMS)
def test_every_term_is_used(term, elsewhere):
    assert re.search(rf"\b{re.escape(term.lower())}", elsewhere)


@pytest.mark.parametrize(("term", "meaning"), ENTRIES, ids=TERMS)
def test_every_meaning_is_short(term, meaning):
    sentences = re.split(r"(?<=[.:?!])\s+(?=[A-Z])", meaning)
    assert 1 <= len(sentences) <= 3, term
    assert meaning.endswith("."), term
    assert len(meaning) <= 200, term
