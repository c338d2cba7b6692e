"""Every command that README, tutorial and runbooks show is run here, and prints what they say it prints.

A `console` block is a transcript: lines behind `$ ` are commands, what follows is their output, and a line `...` stands
for any lines; at the end of a line, for any text. All blocks of a document are one session of bash in an empty home, with a calendar on this machine. What
differs from run to run (ids, digests, keys, times, sizes of sealed bytes) is compared as a placeholder only.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from muniment.testing.bitcoin_node import LocalChain
from muniment.testing.calendar import LocalCalendar

ROOT = Path(__file__).parents[2]
HOME_IN_DOCS = "/home/ana"
README_COMMAND_LINES_MAX = 10

# Somebody types at the terminal: here it comes from a pipe.
_KIT_SECRET = r"sed -n 's/^ *line [0-9]: *//p' kit.html"
TYPED = {
    "muniment keys check-recovery-kit": f"{_KIT_SECRET} | muniment keys check-recovery-kit",
    "muniment keys recover": f"{_KIT_SECRET} | muniment keys recover",
}
COMPLAINTS = ("\nmuniment: ", "\nFAIL ", " could not be ", " root incomplete: ")
"""What a command says that ends with another exit code than 0."""

# What a reader has already where a document begins.
LETTERS = """
mkdir -p letters/1994
printf 'Dear Ana,\\n' >letters/1994/ana.txt
seq 1 2000 >letters/names.csv
head -c 60000 /dev/zero | tr '\\0' x >letters/scan.jpg
"""
NEW_HOME = f"""{LETTERS}
muniment init -q --organization-id casa --name 'Casa de la Memoria' --recovery-kit kit.html
"""
ARCHIVE = f"""{NEW_HOME}
muniment archive -q letters
"""
BACKUP = """
mkdir usb
echo "backup = '$HOME/usb'" >>.muniment/config.toml
muniment backup -q
cp .muniment/config.toml .muniment/keys/signing.pub usb/
"""
SERVICE = r"""
muniment org create -q casa "Casa de la Memoria" --no-recovery-kit --home service
KEY_ID=$(muniment api-key list casa --json --home service | sed -n 's/.*"key_id": "\(.*\)".*/\1/p')
"""
DOCUMENTS = {
    "README.md": LETTERS,
    "docs/tutorial/first-archive.md": ":",
    "docs/runbooks/disk-full.md": ARCHIVE,
    "docs/runbooks/lost-database.md": ARCHIVE,
    "docs/runbooks/damaged-commit.md": ARCHIVE,
    "docs/runbooks/lost-or-stolen-key.md": ARCHIVE,
    "docs/runbooks/machine-gone.md": ARCHIVE + BACKUP,
    "docs/runbooks/lost-service-database.md": SERVICE,
    "docs/runbooks/leaked-api-key.md": SERVICE,
    "docs/guides/content.md": NEW_HOME,
}

PLACEHOLDERS = (
    (r"\b\d{8}T\d{6}Z-[a-z2-7]{8}", "<commit>"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"\b\d{4}-\d\d-\d\d\b", "<day>"),
    (r"\bblake3:[0-9a-f]{64}", "<digest>"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (r"\bSHA256:[A-Za-z0-9+/]{43}", "<key>"),
    (r"\bbafy[a-z2-7]{55}", "<cid>"),
    (r"\bage1[a-z0-9]{58}", "<recipient>"),
    (r"\bmnk_(\w+|\.{3})", "<api key>"),
    (r"\bhttps?://[^\s)]+", "<url>"),
    (r"(?<=sealed in )[\d.]+ (B|kB|MB)", "<size>"),
    (r"(?<=mends up to )[\d.]+ (B|kB|MB)", "<size>"),
    (r"[\d.]+ (B|kB|MB)(?= sent and verified)", "<size>"),
    (r"[\d.]+ [GT]B(?= free)", "<size>"),
    (r"(?<=vol)\d+\+\d+", "<parity>"),
    (r"[ \t]+", " "),
)


@dataclass
class Step:
    """A command as it is typed, and the lines that a document says it prints."""

    document: str
    line: int
    command: str
    expected: list[str] = field(default_factory=list)


def steps_of(document: str, text: str) -> list[Step]:
    """Read the transcripts of a document."""
    steps: list[Step] = []
    inside = continued = False
    indent = 0
    for number, indented in enumerate(text.splitlines(), 1):
        line = indented[indent:] if inside else indented.lstrip()
        if line.startswith("```"):
            inside, continued = line == "```console", False
            indent = len(indented) - len(indented.lstrip())
        elif inside and continued:
            steps[-1].command += "\n" + line
            continued = line.endswith("\\")
        elif inside and line.startswith("$ "):
            steps.append(Step(document, number, line[2:]))
            continued = line.endswith("\\")
        elif inside:
            assert steps, f"{document}:{number}: a transcript begins with output"
            steps[-1].expected.append(line)
    return steps


def normalise(text: str, home: str) -> str:
    """Replace what differs from run to run."""
    text = text.replace(home, HOME_IN_DOCS)
    for pattern, placeholder in PLACEHOLDERS:
        text = re.sub(pattern, placeholder, text)
    return text.strip()


def matches(expected: list[str], printed: list[str]) -> bool:
    """Compare line by line; an expected line `...` stands for any lines, and at a line's end for any text."""
    parts = ["(?:.*\n)*?" if line == "..." else _line_pattern(line) + "\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in printed)) is not None


def _line_pattern(line: str) -> str:
    return re.escape(line[:-3]) + ".*" if line.endswith(" ...") else re.escape(line)


class Session:
    """One bash in a home of its own, for all commands of a document."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = str(home)
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=home,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._bash.stdin.close()
        self._bash.wait(timeout=30)
        self._bash.stdout.close()

    def run(self, command: str) -> tuple[list[str], int]:
        """Run a command; returns the lines that it printed and its exit code."""
        self._bash.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n<end> %s\\n' $?\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.startswith("<end> "):
                break
            lines.append(line.rstrip("\n"))
        else:
            raise AssertionError(f"the shell ended during {command!r}: {lines}")
        if lines and not lines[-1]:
            lines.pop()
        return lines, int(line.split()[1])


@pytest.fixture
def session(tmp_path):
    """A shell in an empty home, in which `muniment` is this one and calendars are on this machine."""
    with LocalCalendar(LocalChain()) as calendar:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")
        }
        environment |= {
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
            "MUNIMENT_CALENDARS": calendar.url,
            "MUNIMENT_WORKERS": "1",
        }
        with Session(tmp_path, environment) as session:
            yield session


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(name, marks=pytest.mark.slow if name != "README.md" else ())
        for name in DOCUMENTS
    ],
)
def test_what_documents_show_is_what_happens(document, session):
    steps = steps_of(document, (ROOT / document).read_text("utf-8"))
    assert any(step.command.startswith("muniment ") for step in steps)
    printed, code = session.run(DOCUMENTS[document])
    assert code == 0, printed
    for step in steps:
        check(step, session)


def check(step: Step, session: Session) -> None:
    """Run a command and compare what it prints; only one that is shown to complain may fail."""
    command = TYPED.get(step.command, step.command).replace(HOME_IN_DOCS, session.home)
    lines, code = session.run(command)
    where = f"{step.document}:{step.line}: $ {step.command}"
    printed = [normalise(line, session.home) for line in lines]
    expected = [normalise(line, session.home) for line in step.expected]
    assert matches(expected, printed), f"{where}\nprinted:\n" + "\n".join(lines)
    complains = any(sign in f"\n{line}" for line in expected for sign in COMPLAINTS)
    assert complains or code == 0, f"{where}: exit code {code}"


def test_the_readme_shows_few_commands():
    steps = steps_of("README.md", (ROOT / "README.md").read_text("utf-8"))
    commands = [step.command for step in steps]
    assert sum(command.count("\n") + 1 for command in commands) <= README_COMMAND_LINES_MAX
    for name in ("init", "archive", "verify", "restore"):
        assert any(command.startswith(f"muniment {name}") for command in commands), name


def test_a_wrong_transcript_is_noticed(session):
    """The comparison can fail: on other output, on more of it, on less, and on a command that fails silently."""
    check(Step("made up", 1, "printf 'one\\ntwo\\n'", ["one", "two"]), session)
    check(Step("made up", 1, "printf 'one\\ntwo\\nthree\\n'", ["one", "..."]), session)
    for command, expected in (
        ("printf 'one\\ntwo\\n'", ["one"]),
        ("printf 'one\\n'", ["one", "two"]),
        ("printf 'one\\n'", ["other"]),
        ("printf 'one\\ntwo\\n'", ["...", "one"]),
        ("false", []),
        ("muniment no-such-command", ["..."]),
    ):
        with pytest.raises(AssertionError):
            check(Step("made up", 1, command, expected), session)
