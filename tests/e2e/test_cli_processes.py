"""The installed program in processes of its own: start-up, signals, pipes and terminals."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("muniment")
EVIL = b"evil\x1b[5;31mred\x1b]0;title\x07"
WAIT_S = 60


@pytest.fixture
def home(tmp_path):
    """An environment with a new archive."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "MUNIMENT_HOME": str(tmp_path / "home"),
        "MUNIMENT_CALENDARS": "",
    }
    muniment(environment, "init", "--organization-id", "hrdag", "--no-recovery-kit")
    return environment


def muniment(environment, *words, code=0):
    done = subprocess.run(
        [PROGRAM, *words],
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, (words, done)
    return done.stdout


def on_terminal(environment, words, answers=(), code=0):
    """Run with a terminal for all three streams; each answer is typed when its question shows. Returns what was shown."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [PROGRAM, *words],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, seen, pending = b"", 0, list(answers)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        shown += piece
        if pending and (at := shown.find(pending[0][0], seen)) >= 0:
            answer = pending.pop(0)[1]
            seen = at + 1
            os.write(ours, (answer(shown) if callable(answer) else answer) + b"\n")
    assert process.wait(WAIT_S) == code, shown
    assert not pending, (pending, shown)
    os.close(ours)
    return shown


def test_help_imports_nothing_heavy():
    heavy = [
        "sqlalchemy",
        "rich",
        "httpx",
        "nacl",
        "cryptography",
        "boto3",
        "msgspec",
        "muniment.bootstrap",
        "muniment.archive",
    ]
    code = (
        "import sys\nfrom muniment.entrypoints.cli.running import run\n"
        f"run(['--help'])\nprint([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert "restore" in done.stdout


def test_version_is_told(home):
    assert muniment(home, "--version").startswith(b"muniment ")


def test_a_reader_that_stops_reading_is_no_error(home):
    ours, theirs = os.pipe()
    os.close(ours)
    process = subprocess.Popen(
        [PROGRAM, "completion", "bash"], env=home, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    _out, error = process.communicate(timeout=WAIT_S)
    assert (process.returncode, error) == (141, b"")


def test_completion_knows_the_commands(home):
    asked = home | {
        "COMP_WORDS": "muniment re",
        "COMP_CWORD": "1",
        "_MUNIMENT_COMPLETE": "bash_complete",
    }
    words = {line.split(",")[1] for line in muniment(asked).decode().splitlines()}
    assert words == {"restore", "repair", "rebuild"}


@pytest.fixture
def silent_calendar():
    """The address of a calendar that takes requests and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(home, tmp_path, silent_calendar):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "letter").write_bytes(b"Dear all")
    process = subprocess.Popen(
        # A shell's background job ignores interrupts, and so would what it starts: this test may run in one.
        ["env", "--default-signal=INT", PROGRAM, "archive", papers, "--verbose"],
        env=home | {"MUNIMENT_CALENDARS": silent_calendar, "MUNIMENT_CALENDAR_TIMEOUT_S": "60"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for line in process.stderr:
        if b": timestamp" in line:
            break
    time.sleep(0.5)  # the request is on its way
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of its processes
    _out, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, error
    assert error.strip().endswith(b"muniment: interrupted; run again to resume")
    assert b"Traceback" not in error
    status = json.loads(muniment(home, "status", "--json"))
    assert (status["commits"], len(status["unfinished"])) == (0, 1)
    assert b"not finished: muniment archive" in muniment(home, "status")
    answer = json.loads(muniment(home, "archive", "--json"))
    assert [commit["commit_id"] for commit in answer["commits"]] == [
        status["unfinished"][0]["commit_id"]
    ]
    muniment(home, "verify", "--deep")


def test_a_terminal_shows_the_kit_once_and_asks_to_read_it_back(home, tmp_path):
    def end_of_kit(shown):
        lines = shown.split(b"line 3:")[1].splitlines()[0]
        return b" ".join(lines.split()[-2:]).lower()

    environment = home | {"MUNIMENT_HOME": str(tmp_path / "other")}
    question = b"Type the last two groups"
    shown = on_terminal(
        environment,
        ["init", "--organization-id", "hrdag"],
        [(question, b"qqqq qq"), (question, end_of_kit)],
    )
    assert b"AGE-SECRET-KEY-1" in shown
    assert "█".encode() in shown
    assert b"That is not what the kit says" in shown
    assert b"That is right" in shown


def test_a_terminal_may_skip_reading_the_kit_back(home, tmp_path):
    environment = home | {"MUNIMENT_HOME": str(tmp_path / "other")}
    shown = on_terminal(
        environment,
        ["init", "--organization-id", "hrdag"],
        [(b"Type the last two groups", b"")],
    )
    assert b"muniment keys check-recovery-kit" in shown


def test_hostile_names_never_reach_the_terminal_as_they_are(home, tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / os.fsdecode(EVIL)).write_bytes(b"x")
    os.mkfifo(papers / os.fsdecode(EVIL + b"pipe"))
    shown = [
        on_terminal(home, ["archive", papers], code=10),
        on_terminal(home, ["status"]),
        on_terminal(home, ["restore", "--target", tmp_path / "out"]),
        on_terminal(home, ["restore", "--target", tmp_path / "out"], code=10),
        on_terminal(home, ["restore", "--target", tmp_path / "out", "--dry-run"]),
        on_terminal(home, ["archive", papers / "\x1b[5;31mgone"], code=3),
        on_terminal(home, ["bla\x1b[5;31m"], code=2),
        on_terminal(home, ["restore", "--target", "/tmp", "\x1b[5;31m"], code=3),
    ]
    for output in shown:
        assert b"\x1b[5;" not in output
        assert b"\x1b]0;" not in output
        assert b"\x07" not in output
    assert b"evil\\x1b[5;31mred" in shown[0]
