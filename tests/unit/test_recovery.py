"""The recovery kit: what is printed can be typed back, and a mistake is found where it was made."""

from datetime import date

import pytest

from muniment.archive.age_keys import CHARSET, Identity
from muniment.archive.recovery import RecoveryKit, parse_typed_identity
from muniment.errors import FormatError

IDENTITY = Identity(bytes(range(100, 132)))
SECRET = IDENTITY.reveal()
DATA = SECRET.removeprefix("AGE-SECRET-KEY-1")
KIT = RecoveryKit("Memória Ñandú", date(2026, 11, 21), IDENTITY)


def _printed_secret(text: str) -> str:
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "AGE-SECRET-KEY-1")
    return "\n".join([lines[start], *(line.split(":")[1] for line in lines[start + 2 : start + 5])])


def test_the_text_is_ascii_and_fits_the_page():
    for name in ("Memória Ñandú", "Мемориал", "A\nB\x1b[31m", "word " * 40, "x" * 200, "{rule}"):
        text = RecoveryKit(name, date(2026, 11, 21), IDENTITY).text()
        assert text.isascii()
        assert all(character.isprintable() or character == "\n" for character in text)
        assert max(map(len, text.splitlines())) == 80
        assert len(text.splitlines()) < 66
    assert "Organisation   Memoria Nandu\n" in KIT.text()
    assert "2026-11-21" in KIT.text()
    assert IDENTITY.recipient in KIT.text()


def test_what_is_printed_can_be_typed_back():
    printed = _printed_secret(KIT.text())
    assert parse_typed_identity(printed) == IDENTITY
    assert parse_typed_identity(printed.lower().replace("\n", "\r\n\t")) == IDENTITY
    assert parse_typed_identity(SECRET.replace("-", "\N{EN DASH}")) == IDENTITY
    assert parse_typed_identity(DATA) == IDENTITY


def test_the_secret_shows_only_where_it_is_meant_to():
    assert SECRET not in repr(KIT)
    assert repr(IDENTITY) == f"Identity({IDENTITY.recipient})"
    assert DATA not in "".join(KIT.text().split("THE SECRET")[0])


def _place(position: int) -> str:
    return (
        f"line {position // 20 + 1}, group {position % 20 // 4 + 1}, character {position % 4 + 1}"
    )


@pytest.mark.parametrize("position", [0, 1, 19, 20, 33, 57])
def test_a_mistyped_character_is_found(position):
    other = CHARSET[(CHARSET.index(DATA[position].lower()) + 7) % 32].upper()
    with pytest.raises(FormatError, match=f"look at {_place(position)}$") as caught:
        parse_typed_identity("AGE-SECRET-KEY-1" + DATA[:position] + other + DATA[position + 1 :])
    assert not any(DATA[start : start + 4] in str(caught.value) for start in range(55))


@pytest.mark.parametrize("character", "BIO1é\ud800")
def test_a_character_that_is_never_used_is_found(character):
    with pytest.raises(FormatError, match=f"{_place(21)} is a character that is never used"):
        parse_typed_identity(DATA[:21] + character + DATA[22:])


def test_swapped_lost_and_doubled_characters_are_found():
    assert DATA[30] != DATA[31]
    with pytest.raises(FormatError, match=f"{_place(30)} and the one after it seem to be swapped"):
        parse_typed_identity(DATA[:30] + DATA[31] + DATA[30] + DATA[32:])
    lost = next(n for n in range(40, 57) if DATA[n] not in (DATA[n - 1], DATA[n + 1]))
    with pytest.raises(FormatError, match=f"missing, at or near {_place(lost)}"):
        parse_typed_identity(DATA[:lost] + DATA[lost + 1 :])
    with pytest.raises(FormatError, match="too many, at or near line 2, group"):
        parse_typed_identity(DATA[:27] + DATA[26:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 58 characters after AGE-SECRET-KEY-1, got 0"),
        (DATA[:-2], "got 56"),
        ("AGE-5ECRET-KEY-1" + DATA, "got 71"),
        (IDENTITY.recipient, "public recipient"),
        (DATA[:10] + "QQQQQQQQQQ" + DATA[20:], "more than one character is wrong"),
        (SECRET * 100, "got 7400"),
        ("ß" * 29, "more than one"),
    ],
)
def test_other_mistakes_are_told_apart(text, says):
    with pytest.raises(FormatError, match=says):
        parse_typed_identity(text)


def test_the_page_to_print_is_whole_and_harmless():
    page = RecoveryKit("<script>&Ñ", date(2026, 11, 21), IDENTITY).html()
    assert "<h1>&lt;script&gt;&amp;Ñ</h1>" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 1
    assert parse_typed_identity(_printed_secret(page)) == IDENTITY


def test_the_qr_code_is_the_same_in_the_terminal_and_on_the_page():
    drawn = KIT.terminal_qr()
    rows = [line for line in drawn.splitlines() if line]
    assert len({len(row) for row in rows}) == 1
    # Version 4 (33 modules) and a quiet zone of 4 on each side; two rows of modules in one line.
    assert len(rows[0]) == 33 + 8
    assert set(drawn) <= set("█▀▄ \n")
    assert 'viewBox="0 0 41 41"' in KIT.html()
