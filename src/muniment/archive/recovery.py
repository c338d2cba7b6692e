"""The recovery kit: the recovery identity on paper, to be read, typed or scanned when all else is lost.

The text is plain ASCII of 80 columns. The secret is set in groups of four characters; whoever types it back may use
spaces, line breaks and lower case, and a mistyped character is found by the checksum that Bech32 (BIP 173) puts in.
"""

import html
import io
import textwrap
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from muniment.archive.age_keys import CHARSET, DATA_CHARS, IDENTITY_PREFIX, Identity, checksum_holds
from muniment.errors import FormatError

if TYPE_CHECKING:
    import segno

COLUMNS = 80
GROUP_CHARS = 4
LINE_GROUPS = 5
LINE_CHARS = GROUP_CHARS * LINE_GROUPS
MAX_TYPED_CHARS = 4096

_HEAD = (IDENTITY_PREFIX + "1").upper()
_TYPED_HEAD = _HEAD.replace("-", "")

_TEMPLATE = """\
MUNIMENT RECOVERY KIT
{rule}

Organisation   {organisation}
Made on        {made_on}
Opens          whatever was sealed to this recipient:
               {recipient}

THE SECRET
{thin_rule}

    {head}

{lines}

Whoever holds this page can read everything that the organisation archived
while the recipient above was in its list. Keep the page in a safe, and a second
one in a safe somewhere else. Do not photograph it, and do not store it on a
computer. Muniment has not kept a copy: this page is all there is.

The letters B, I and O and the digit 1 are not used after the first line, so a
round sign is a zero. Spaces, line breaks and capitals do not matter. The last
six characters are a checksum of all others: if one is mistyped, Muniment says
which line and group to look at.

TO OPEN THE ARCHIVE WITH MUNIMENT
{thin_rule}

1. Get one complete set of the commit directories: from the organisation's
   own storage, from a partner or from the object backup.
2. Type the secret, the first line and all the others together without spaces
   and in capitals, as the only line of a file named identity.txt in the folder
   keys of the Muniment home.
3. Let nobody else read it:              chmod 600 keys/identity.txt
4. Recreate the database:                muniment rebuild
   Everything can be restored again.
5. Then make new keys and a new recovery kit, and seal every keyring anew.
   Only after that, destroy this page.

TO OPEN IT WITHOUT MUNIMENT
{thin_rule}

Every commit directory holds a file keys.age, which is an age file. The program
age (age-encryption.org, part of most Linux distributions) opens it:

    age -d -i identity.txt -o keys.bin keys.age

The file keys.bin then holds one key of 32 bytes for each archived file. How the
files are opened with them is written in docs/spec/keys.md and
docs/spec/commit.md, which are part of Muniment and of every copy of it.
"""

_STYLE = """\
body { font-family: monospace; max-width: 50em; margin: 2em auto; color: #000; background: #fff; }
pre { white-space: pre-wrap; font-size: 10.5pt; }
svg { width: 5cm; height: 5cm; }
@media print { body { margin: 0; } }
"""


@dataclass(frozen=True, slots=True)
class RecoveryKit:
    """A recovery kit to be shown or printed once; whoever renders it keeps nothing.

    Attributes:
        organisation: Whose archive it opens.
        made_on: The day of its making.
        identity: The recovery identity.
    """

    organisation: str
    made_on: date
    identity: Identity

    def text(self) -> str:
        """The kit as plain ASCII, at most 80 columns wide, with a line end at its end."""
        name = textwrap.fill(_ascii(self.organisation), COLUMNS - 15, subsequent_indent=" " * 15)
        return _TEMPLATE.format(
            rule="=" * COLUMNS,
            thin_rule="-" * COLUMNS,
            organisation=name,
            made_on=self.made_on.isoformat(),
            recipient=self.identity.recipient,
            head=_HEAD,
            lines="\n".join(_secret_lines(self.identity)),
        )

    def terminal_qr(self) -> str:
        """The secret as a QR code of block characters (Unicode), for a dark terminal."""
        drawing = io.StringIO()
        _qr_code(self.identity).terminal(drawing, compact=True)
        return drawing.getvalue()

    def html(self) -> str:
        """The kit and its QR code as one HTML page to print; it loads nothing and runs nothing."""
        name = html.escape(self.organisation)
        picture = _qr_code(self.identity).svg_inline(omitsize=True)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Recovery kit: {name}</title>\n'
            f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
            f"{picture}\n<pre>\n{html.escape(self.text())}</pre>\n</body>\n</html>\n"
        )


def parse_typed_identity(text: str) -> Identity:
    """Read an identity typed from a kit: with or without `AGE-SECRET-KEY-1`, spaces, dashes, line breaks, in any case.

    Raises:
        FormatError: It is not the secret of a kit; the message says where it was mistyped, if that can be found out.
            It never holds any of the secret.
    """
    if len(text) > MAX_TYPED_CHARS:
        raise FormatError(
            f"expected a secret of {len(_HEAD) + DATA_CHARS} characters, got {len(text)}"
        )
    typed = "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Pd").upper()
    if typed.startswith("AGE1"):
        raise FormatError(f"expected the secret, {_HEAD}..., got the public recipient, age1...")
    data = typed.removeprefix(_TYPED_HEAD).lower()
    if len(data) == DATA_CHARS and checksum_holds(IDENTITY_PREFIX, data):
        return Identity.parse(_HEAD + data.upper())
    raise FormatError(f"the secret is mistyped: {_find_mistake(data)}")


def _secret_lines(identity: Identity) -> Iterator[str]:
    data = identity.reveal().removeprefix(_HEAD)
    for number, start in enumerate(range(0, DATA_CHARS, LINE_CHARS), 1):
        line = data[start : start + LINE_CHARS]
        groups = [line[i : i + GROUP_CHARS] for i in range(0, len(line), GROUP_CHARS)]
        yield f"    line {number}:   " + "  ".join(groups)


def _find_mistake(data: str) -> str:
    """Say where the typed `data` (lower case) went wrong, trying every single mistake that people make."""
    wrong_length = f"expected {DATA_CHARS} characters after {_HEAD}, got {len(data)}"
    if abs(len(data) - DATA_CHARS) > 1:
        return wrong_length
    strange = [position for position, character in enumerate(data) if character not in CHARSET]
    if strange:
        return (
            f"{_place(strange[0])} is a character that is never used there (B, I, O and 1 are not)"
        )
    if len(data) == DATA_CHARS:
        if (position := _first_that_holds(_replaced, data)) is not None:
            return f"look at {_place(position)}"
        if (position := _first_that_holds(_swapped, data)) is not None:
            return f"{_place(position)} and the one after it seem to be swapped"
        return "more than one character is wrong"
    if len(data) == DATA_CHARS - 1 and (position := _first_that_holds(_inserted, data)) is not None:
        return f"one character is missing, at or near {_place(position)}"
    if len(data) == DATA_CHARS + 1 and (position := _first_that_holds(_deleted, data)) is not None:
        return f"one character is too many, at or near {_place(position)}"
    return wrong_length


def _first_that_holds(mend: Callable[[str, int], Iterator[str]], data: str) -> int | None:
    for position in range(len(data) + 1):
        if any(checksum_holds(IDENTITY_PREFIX, mended) for mended in mend(data, position)):
            return position
    return None


def _replaced(data: str, position: int) -> Iterator[str]:
    return (data[:position] + c + data[position + 1 :] for c in CHARSET if position < len(data))


def _swapped(data: str, position: int) -> Iterator[str]:
    pair = data[position : position + 2]
    return iter([data[:position] + pair[::-1] + data[position + 2 :]])


def _inserted(data: str, position: int) -> Iterator[str]:
    return (data[:position] + c + data[position:] for c in CHARSET)


def _deleted(data: str, position: int) -> Iterator[str]:
    return iter([data[:position] + data[position + 1 :]])


def _place(position: int) -> str:
    line, in_line = divmod(position, LINE_CHARS)
    group, in_group = divmod(in_line, GROUP_CHARS)
    return f"line {line + 1}, group {group + 1}, character {in_group + 1}"


def _ascii(text: str) -> str:
    """`text` without accents, and "?" for what has no plain letter."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join((c if c.isascii() else "?") if c.isprintable() else " " for c in bare)


def _qr_code(identity: Identity) -> "segno.QRCode":
    import segno  # noqa: PLC0415  # slow to import

    return segno.make(identity.reveal(), error="m", micro=False)
